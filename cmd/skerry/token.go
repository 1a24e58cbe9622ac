package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/jointoken"
)

func tokenCommand() *cobra.Command {
	c := config.Defaults(config.Server)
	role := jointoken.Agent
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the token with which machines join this server's cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role != jointoken.Agent && role != jointoken.Server {
				return fmt.Errorf("--role %q: there are agent and server", role)
			}
			contents, err := os.ReadFile(c.JoinTokenFile(role))
			if err != nil {
				return fmt.Errorf("is this a server, and are you root? %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(contents)))
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", role, "what the machine may be: agent or server")
	cmd.Flags().StringVar(&c.DataDir, "data-dir", c.DataDir, "where the server keeps its state")
	return cmd
}
