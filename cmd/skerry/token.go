package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/control"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

func tokenCommand() *cobra.Command {
	c := config.Defaults(config.Server)
	role := jointoken.Agent
	var kubeconfigFile string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print, create, list, revoke and rotate the tokens with which machines join",
		Long: `Without a subcommand, print the token with which machines join this server's
cluster as nodes, or with --role server as servers.

Whoever has a token for servers can get all keys of the cluster.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRole(role); err != nil {
				return err
			}
			contents, err := os.ReadFile(c.JoinTokenFile(role))
			if err != nil {
				return fmt.Errorf("is this a server, and are you root? %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(contents)))
			return nil
		},
	}
	roleFlag(cmd, &role)
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "where the server keeps its state")
	flags.StringVar(&c.RunDir, "run-dir", c.RunDir, "where the server keeps what a boot must not keep")
	flags.StringVar(&kubeconfigFile, "kubeconfig", "", "of whom may do all (default: the server's own, or KUBECONFIG)")
	tokens := func() (join.Tokens, error) {
		if err := checkRole(role); err != nil {
			return join.Tokens{}, err
		}
		return connectTokens(c, kubeconfigFile)
	}
	cmd.AddCommand(tokenCreateCommand(tokens, &role), tokenListCommand(tokens), tokenRevokeCommand(tokens), tokenRotateCommand(tokens, &role))
	return cmd
}

func roleFlag(cmd *cobra.Command, role *string) {
	cmd.Flags().StringVar(role, "role", *role, "what the machine may be: agent or server")
}

func checkRole(role string) error {
	if role != jointoken.Agent && role != jointoken.Server {
		return fmt.Errorf("--role %q: there are agent and server", role)
	}
	return nil
}

// connectTokens finds the tokens of the cluster, as the server's own
// administrator unless a kubeconfig is named.
func connectTokens(c *config.Config, kubeconfigFile string) (join.Tokens, error) {
	if kubeconfigFile == "" {
		kubeconfigFile = control.AdminKubeconfig(c)
		if named := os.Getenv("KUBECONFIG"); named != "" {
			kubeconfigFile = named
		}
	}
	restConfig, client, err := kubeconfig.Client(kubeconfigFile)
	if err != nil {
		return join.Tokens{}, fmt.Errorf("is this a server that runs, and are you root? %w", err)
	}
	digest, err := clusterDigest(restConfig)
	return join.Tokens{Client: client, CA: digest}, err
}

// clusterDigest is the SHA-256 of the CA that a kubeconfig believes.
func clusterDigest(restConfig *rest.Config) (string, error) {
	contents := restConfig.CAData
	if len(contents) == 0 {
		var err error
		if contents, err = os.ReadFile(restConfig.CAFile); err != nil {
			return "", fmt.Errorf("the cluster's CA: %w", err)
		}
	}
	certificates, err := pki.ParseCertificates(contents)
	if err != nil {
		return "", fmt.Errorf("the cluster's CA: %w", err)
	}
	return pki.Digest(certificates[0]), nil
}

func tokenCreateCommand(tokens func() (join.Tokens, error), role *string) *cobra.Command {
	var ttl time.Duration
	var description string
	cmd := &cobra.Command{
		Use: "create", Args: cobra.NoArgs,
		Short: "Make another token and print it: it is not told again",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 {
				return fmt.Errorf("--ttl %s: the time until the token expires belongs here, or 0 for never", ttl)
			}
			all, err := tokens()
			if err != nil {
				return err
			}
			var expires time.Time
			if ttl > 0 {
				expires = time.Now().Add(ttl)
			}
			made, known, err := all.Create(cmd.Context(), *role, description, expires)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), made)
			fmt.Fprintf(cmd.ErrOrStderr(), "token %s for role %s %s\n", known.ID, known.Role, expiry(known))
			return nil
		},
	}
	roleFlag(cmd, role)
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long machines can join with it; 0 for ever")
	cmd.Flags().StringVar(&description, "description", "", "what it is for")
	return cmd
}

func expiry(t join.Token) string {
	if t.Expires.IsZero() {
		return "never expires"
	}
	return "expires at " + t.Expires.Format(time.RFC3339)
}

func tokenListCommand(tokens func() (join.Tokens, error)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Args: cobra.NoArgs,
		Short: "List the tokens, without their secrets",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := tokens()
			if err != nil {
				return err
			}
			return listTokens(cmd.Context(), cmd.OutOrStdout(), all, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// listedToken is a token as it is shown.
type listedToken struct {
	ID          string     `json:"id"`
	Role        string     `json:"role"`
	Created     time.Time  `json:"created"`
	Expires     *time.Time `json:"expires,omitempty"`
	Expired     bool       `json:"expired"`
	Description string     `json:"description,omitempty"`
}

func listTokens(ctx context.Context, out io.Writer, tokens join.Tokens, asJSON bool) error {
	all, damaged := tokens.List(ctx)
	shown := []listedToken{}
	for _, t := range all {
		each := listedToken{ID: t.ID, Role: t.Role, Created: t.Created.UTC(), Expired: t.Expired(time.Now()), Description: t.Description}
		if !t.Expires.IsZero() {
			each.Expires = &t.Expires
		}
		shown = append(shown, each)
	}
	if asJSON {
		if err := json.NewEncoder(out).Encode(shown); err != nil {
			return err
		}
		return damaged
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tROLE\tCREATED\tEXPIRES\tDESCRIPTION")
	for _, t := range shown {
		expires := "never"
		if t.Expires != nil {
			expires = t.Expires.Format(time.RFC3339)
		}
		if t.Expired {
			expires += " (expired)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Role, t.Created.Format(time.RFC3339), expires, t.Description)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return damaged
}

func tokenRevokeCommand(tokens func() (join.Tokens, error)) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Args: cobra.ExactArgs(1),
		Short: "Have the cluster refuse a token; machines that have joined stay",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := tokens()
			if err != nil {
				return err
			}
			return all.Revoke(cmd.Context(), args[0])
		},
	}
}

func tokenRotateCommand(tokens func() (join.Tokens, error), role *string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs,
		Short: "Replace the token that `skerry token` prints; the old one is refused from now on",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := tokens()
			if err != nil {
				return err
			}
			made, err := all.Rotate(cmd.Context(), *role)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), made)
			return nil
		},
	}
	roleFlag(cmd, role)
	return cmd
}
