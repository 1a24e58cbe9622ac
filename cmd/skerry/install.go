package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/hostcheck"
	"github.com/skerry-os/skerry/cluster/node"
	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/distribution/place"
	"github.com/skerry-os/skerry/standalone"
)

// installation is what the flags say that are not the service's.
type installation struct {
	root     string
	noStart  bool
	replace  bool
	deadline time.Duration
}

func installCommand() *cobra.Command {
	o := &installation{}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make skerry a service of this machine",
		Long: `Make skerry a service of this machine, which has to run systemd, start it and
wait until it is ready. The flags of the service go to ` + standalone.SettingsFile + `, which
is kept where it is there already.

A newer download installs itself over an older version: Pods go on.`,
		Example: `  ./skerry-1.2.0-linux-amd64 install server
  ./skerry-1.2.0-linux-amd64 install agent --server https://192.0.2.10:6443 --token-file token
  skerry uninstall`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("as what? `skerry install server`, or `skerry install agent --server URL --token-file FILE`")
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.root, "root", "", "install below this folder, and start nothing")
	flags.BoolVar(&o.noStart, "no-start", false, "leave the start to the next boot")
	flags.BoolVar(&o.replace, "replace-config", false, "replace settings that are there and differ; the former file is kept beside it")
	flags.DurationVar(&o.deadline, "timeout", 10*time.Minute, "how long to wait until the service is ready")
	for _, role := range []config.Role{config.Server, config.Agent} {
		c := config.Defaults(role)
		sub := &cobra.Command{
			Use: string(role), Short: fmt.Sprintf("Make this machine a cluster %s", role), Args: cobra.NoArgs,
		}
		sub.Flags().AddFlagSet(allFlags(c))
		sub.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd, c) }
		cmd.AddCommand(sub)
	}
	return cmd
}

func (o *installation) run(cmd *cobra.Command, c *config.Config) error {
	at, err := placeOf(cmd, o.root)
	if err != nil {
		return err
	}
	if at.Root == "" && os.Geteuid() != 0 {
		return errors.New("only root can install: run it with sudo, or pass --root DIR to install below a folder")
	}
	version, err := ownVersion()
	if err != nil {
		return err
	}
	install := standalone.Install{
		Place: at, Version: version, Settings: standalone.GivenSettings(string(c.Role), cmd.Flags(), cmd.InheritedFlags()),
		Replace: o.replace, NoStart: o.noStart, Timeout: o.deadline,
		ServerState: c.ServerDir("db"), Joined: c.AgentDir("server-ca.crt"),
		Modules: node.Modules, Sysctls: node.Sysctls(), Out: cmd.OutOrStdout(),
	}
	if c.TokenFile != "" {
		if install.Token, err = c.TokenValue(); err != nil {
			return err
		}
		install.Settings["token-file"] = standalone.TokenFile
	}
	if err := install.Check(); err != nil {
		return err
	}
	// All settings together are checked: those in the file, and those given.
	if !o.replace {
		if err := config.ReadFile(at.Path(config.File), false, cmd.LocalNonPersistentFlags(), c); err != nil {
			return err
		}
	}
	if err := c.Complete(); err != nil {
		return err
	}
	starts := at.Root == "" && !o.noStart
	if starts {
		findings := hostcheck.Host{}.Check(cmd.Context(), cluster.Needs(c))
		if err := hostcheck.Refuse(findings); err != nil {
			return fmt.Errorf("this machine cannot be a cluster %s:\n%w", c.Role, err)
		}
		for _, f := range findings {
			if f.Level == hostcheck.Warning {
				fmt.Fprintln(cmd.ErrOrStderr(), f)
			}
		}
	}
	if err := install.Run(cmd.Context()); err != nil {
		return err
	}
	if starts {
		printNext(cmd, c)
	}
	return nil
}

// placeOf is the place that flag --root names.
func placeOf(cmd *cobra.Command, root string) (place.Place, error) {
	if root == "" && cmd.Flags().Changed("root") {
		return place.Place{}, place.ErrNoRoot
	}
	return place.At(root)
}

var errNoDownload = errors.New("did not come out of a download")

// ownVersion is the version of the distribution that this program is part of.
func ownVersion() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	manifest, err := distribution.ReadManifest(filepath.Dir(program))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s %w, which has all that it needs beside it: run the file that was downloaded, as in `./skerry-1.2.0-linux-amd64 install server`", program, errNoDownload)
	}
	if err != nil {
		return "", err
	}
	return string(manifest.Version), nil
}

func printNext(cmd *cobra.Command, c *config.Config) {
	lines := []string{"skerry uninstall               take it away again"}
	if c.Role == config.Server {
		if c.NodeIP == "" {
			if address, err := config.FindAddress(); err == nil {
				c.NodeIP = address.String()
			}
		}
		lines = append([]string{
			"skerry kubectl get nodes       see the cluster",
			"skerry token                   print what other machines join with, into a FILE there:",
			fmt.Sprintf("skerry-… install agent --server https://%s:%d --token-file FILE", c.NodeIP, config.Port),
		}, lines...)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\nnext:\n  %s\n", strings.Join(lines, "\n  "))
}
