package main

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/skerry-os/skerry/cluster"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/distribution/place"
	"github.com/skerry-os/skerry/standalone"
)

func uninstallCommand() *cobra.Command {
	var root string
	var purge bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "End the service and its Pods, and remove what was installed",
		Long: `End the service and its Pods, and remove what ` + "`skerry install`" + ` wrote and what
the node left in the kernel: mounts, interfaces, rules.

State and settings stay unless --purge is given, or the question is answered with yes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := placeOf(cmd, root)
			if err != nil {
				return err
			}
			if at.Root == "" && os.Geteuid() != 0 {
				return errors.New("only root can uninstall: run it with sudo")
			}
			c := installedSettings(at)
			return standalone.Uninstall{
				Place: at, DataDir: c.DataDir, RunDir: c.RunDir, Traces: cluster.Traces(), Out: cmd.OutOrStdout(),
				Purge: func() bool { return purge || confirm(cmd, "Remove state and settings of the cluster too?") },
			}.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "remove what was installed below this folder")
	cmd.Flags().BoolVar(&purge, "purge", false, "remove state and settings too")
	return cmd
}

// installedSettings are those of the service, as far as they can be read: it is
// to be removed all the same.
func installedSettings(at place.Place) *config.Config {
	role, err := config.ReadRole(at.Path(config.File))
	if err != nil {
		role = config.Server
	}
	c := config.Defaults(role)
	if err := config.ReadFile(at.Path(config.File), false, allFlags(c), c); err != nil {
		slog.Warn("settings cannot be read: state is looked for in the usual places", "error", err)
	}
	return c
}

// confirm asks a person. Where there is none the answer is no.
func confirm(cmd *cobra.Command, question string) bool {
	if input, ok := cmd.InOrStdin().(*os.File); !ok || !term.IsTerminal(int(input.Fd())) {
		return false
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}
