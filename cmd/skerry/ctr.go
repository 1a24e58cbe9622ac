package main

import (
	"os"

	"github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/container"
)

// ctrEnvironment is where containerd's client looks for its server, and for
// what it deals with, unless flags say so.
var ctrEnvironment = map[string]string{
	"CONTAINERD_ADDRESS":   container.Socket(config.Defaults(config.Agent)),
	"CONTAINERD_NAMESPACE": "k8s.io", // where kubelet's containers are
}

// ctrCommand is containerd's client, which finds the containers of this
// machine's Pods unless it is told others.
func ctrCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "ctr",
		Short:              "Look at this machine's containers and images, with containerd's client",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			endBySignals()
			for name, value := range ctrEnvironment {
				if os.Getenv(name) == "" {
					os.Setenv(name, value)
				}
			}
			return app.New().Run(cmd.Context(), append([]string{"ctr"}, args...))
		},
	}
}
