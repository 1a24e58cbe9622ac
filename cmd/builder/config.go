package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/configschema"
)

func newConfig(*settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check node configs",
		Long: `The node config, skerry.yaml, says who a node is: its name, its network, its
part in a cluster. It lies on partition boot, where any computer can edit it.`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "check FILE...",
		Short:   "Tell whether a node will accept a config",
		Long:    "check reads node configs as a node does and names every mistake by file, line and column.",
		Example: "  builder config check shop-17.yaml",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			bad := false
			for _, name := range args {
				if err := builder.CheckConfig(name); err != nil {
					fmt.Fprintln(cmd.ErrOrStderr(), err)
					bad = true
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", name)
			}
			if bad {
				return errFindings
			}
			return nil
		},
	}, &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of node configs",
		Long: `schema prints the JSON Schema of node configs. Editors that know YAML use it to
complete and check a config while it is written, for example with this first line:

  # yaml-language-server: $schema=nodeconfig.schema.json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), configschema.NodeConfig())
			return err
		},
	})
	return cmd
}
