package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skerry-os/skerry/cluster"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/notify"
)

func serverCommand() *cobra.Command {
	c := config.Defaults(config.Server)
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane, and a node beside it",
		Long: `Run the control plane, and a node beside it unless --disable-agent is given.

Settings come from flags, and from ` + config.File + ` with the same names.
Everything the cluster needs is made at the first start, in --data-dir.`,
		Args: cobra.NoArgs,
	}
	nodeFlags(cmd.Flags(), c)
	serverFlags(cmd.Flags(), c)
	runCluster(cmd, c)
	return cmd
}

func agentCommand() *cobra.Command {
	c := config.Defaults(config.Agent)
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run a node of another machine's cluster",
		Long: `Run a node that joins a server's cluster with a token.

Settings come from flags, and from ` + config.File + ` with the same names.
The token is needed once: from then on the node is known by its key.`,
		Args: cobra.NoArgs,
	}
	nodeFlags(cmd.Flags(), c)
	runCluster(cmd, c)
	return cmd
}

// runCommand is how the node agent of an image starts the cluster: the role
// stands in the file it writes.
func runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "run", Hidden: true, Args: cobra.NoArgs,
		Short: "Run a server or an agent, as the settings file says",
		RunE: func(cmd *cobra.Command, _ []string) error {
			role, err := config.ReadRole(file)
			if err != nil {
				notify.FromEnvironment().Stopping(err)
				return err
			}
			chosen := serverCommand()
			if role == config.Agent {
				chosen = agentCommand()
			}
			chosen.SilenceUsage, chosen.SilenceErrors = true, true
			chosen.SetArgs([]string{"--config=" + file})
			return chosen.ExecuteContext(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", config.File, "file with settings")
	return cmd
}

// runCluster has a command read its settings and run them, and tell its supervisor
// why it ends.
func runCluster(cmd *cobra.Command, c *config.Config) {
	file := cmd.Flags().StringP("config", "c", config.File, "file with settings, named like these flags")
	settle := func(cmd *cobra.Command) error {
		if err := config.ReadFile(*file, cmd.Flags().Changed("config"), cmd.Flags(), c); err != nil {
			return err
		}
		return c.Complete()
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		supervisor := notify.FromEnvironment()
		err := settle(cmd)
		if err == nil {
			err = cluster.Run(cmd.Context(), c, supervisor)
		}
		supervisor.Stopping(err)
		return err
	}
}

// allFlags are the flags of the role of c.
func allFlags(c *config.Config) *pflag.FlagSet {
	flags := pflag.NewFlagSet(string(c.Role), pflag.ContinueOnError)
	nodeFlags(flags, c)
	if c.Role == config.Server {
		serverFlags(flags, c)
	}
	return flags
}

func nodeFlags(flags *pflag.FlagSet, c *config.Config) {
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "where state is kept")
	flags.StringVar(&c.RunDir, "run-dir", c.RunDir, "where state is kept that a boot must not keep")
	flags.StringVar(&c.LibDir, "lib-dir", c.LibDir, "where runc, the shim, CNI plugins and images are")
	flags.StringVarP(&c.Server, "server", "s", "", "URL of a server to join, as in https://192.0.2.10:6443")
	flags.StringVarP(&c.Token, "token", "t", "", "token to join with; --token-file keeps it out of the list of processes")
	flags.StringVar(&c.TokenFile, "token-file", "", "file with the token")
	flags.StringVar(&c.NodeName, "node-name", c.NodeName, "name of the Node object")
	flags.StringVarP(&c.NodeIP, "node-ip", "i", "", "address by which others reach this machine (default: that of the default route)")
	flags.StringArrayVar(&c.NodeLabels, "node-label", nil, "label of the Node object, key=value; may be given again")
	flags.StringArrayVar(&c.NodeTaints, "node-taint", nil, "taint of the Node object, key=value:effect; may be given again")
}

func serverFlags(flags *pflag.FlagSet, c *config.Config) {
	flags.StringVar(&c.Datastore, "datastore", c.Datastore, "where the cluster's state is kept: sqlite for a single server, etcd for several (default: sqlite, and etcd with --cluster-init or --server)")
	flags.BoolVar(&c.ClusterInit, "cluster-init", false, "begin a cluster that other servers will join: implies --datastore etcd")
	flags.DurationVar(&c.SnapshotInterval, "snapshot-interval", c.SnapshotInterval, "how often a snapshot of the datastore is taken; 0 for never")
	flags.IntVar(&c.SnapshotKeep, "snapshot-keep", c.SnapshotKeep, "how many of these snapshots are kept")
	flags.BoolVar(&c.RestoreDamaged, "restore-damaged", false, "when the datastore (sqlite) is found damaged at a start, restore the latest snapshot and keep what there was aside")
	flags.BoolVar(&c.DisableAgent, "disable-agent", false, "run no node beside the control plane")
	flags.StringSliceVar(&c.Disable, "disable", nil, "leave out "+strings.Join(config.Batteries, ", "))
	flags.StringSliceVar(&c.TLSSAN, "tls-san", nil, "more names and addresses in the API server's certificate")
	flags.StringVar(&c.ClusterCIDR, "cluster-cidr", c.ClusterCIDR, "network of the Pods")
	flags.StringVar(&c.ServiceCIDR, "service-cidr", c.ServiceCIDR, "network of the Services")
	flags.StringVar(&c.ClusterDNS, "cluster-dns", "", "address of the cluster's DNS (default: the tenth of --service-cidr)")
	flags.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "domain of the cluster's names")
	flags.StringVar(&c.FlannelBackend, "flannel-backend", c.FlannelBackend, "how packets get to other nodes: "+strings.Join(config.Backends, ", "))
	flags.StringArrayVar(&c.AccessKeys, "access-key", nil, "key of a person who may have a kubeconfig, as in \"ed25519:BASE64 ops@example\"; may be given again")
	flags.StringVar(&c.WriteKubeconfig, "write-kubeconfig", c.WriteKubeconfig, "where to write the kubeconfig for people")
}
