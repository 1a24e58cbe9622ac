package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"

	"github.com/skerry-os/skerry/cluster/config"
)

// kubectlCommand is kubectl, which finds the cluster of this machine unless it
// is told another.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "Use the cluster: get, apply, logs, …",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			endBySignals()
			if os.Getenv("KUBECONFIG") == "" {
				if _, err := os.Stat(config.Kubeconfig); err == nil {
					os.Setenv("KUBECONFIG", config.Kubeconfig)
				}
			}
			inner := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
				PluginHandler: kubectl.NewDefaultPluginHandler([]string{"kubectl"}),
				Arguments:     append([]string{"kubectl"}, args...),
				IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
			})
			inner.SetArgs(args)
			inner.SilenceErrors = true
			return inner.ExecuteContext(cmd.Context())
		},
	}
}

// endBySignals has SIGINT and SIGTERM end this program at once, as the programs
// of others that it can be expect.
func endBySignals() { signal.Reset(syscall.SIGINT, syscall.SIGTERM) }
