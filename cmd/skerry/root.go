package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/container"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/node"
	"github.com/skerry-os/skerry/cluster/process"
)

// run executes a command line.
func run(ctx context.Context, args []string) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
	root := &cobra.Command{
		Use:   "skerry",
		Short: "Kubernetes in one file",
		Long: `skerry is Kubernetes in one file: a control plane, a node, or both.

  skerry install server                          make the first machine's service: control plane and node
  skerry server                                  run it here and now
  skerry token                                   what others join with
  skerry agent --server URL --token-file FILE    another machine: a node`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	// Kubernetes has a flag of this name and of another type among those of the
	// process, which cobra would take.
	root.Flags().BoolP("version", "v", false, "print the version")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(serverCommand(), agentCommand(), runCommand(), kubectlCommand(), ctrCommand(), tokenCommand(), kubeconfigCommand(), keyCommand(),
		snapshotCommand(), certificateCommand(),
		installCommand(), uninstallCommand(), checkConfigCommand(),
		partCommand(cluster.NodePart, runNode), partCommand(cluster.ContainerdPart, container.Run))
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// version names the release that this program was downloaded with, if it was,
// and Kubernetes'.
func version() string {
	own, err := ownVersion()
	switch {
	case errors.Is(err, errNoDownload):
		return "Kubernetes " + kube.Version()
	case err != nil:
		own = err.Error()
	}
	return fmt.Sprintf("%s (Kubernetes %s)", own, kube.Version())
}

// withoutTime leaves the time of a line to whoever keeps the lines.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	return a
}

// partCommand is how a server or agent starts a part in a process of its own.
func partCommand(name string, run func(context.Context, *config.Config) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := process.Settings(cmd.Context())
			if err != nil {
				return err
			}
			return run(ctx, c)
		},
	}
}

func runNode(ctx context.Context, c *config.Config) error {
	part := &node.Node{Config: c, Progress: func(step string) { slog.Info("node", "now", step) }}
	return part.Run(ctx)
}
