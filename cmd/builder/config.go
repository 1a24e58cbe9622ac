package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/configschema"
)

func newConfig(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check node configs",
		Long: `The node config, skerry.yaml, says who a node is: its name, its network, its
part in a cluster. It lies on partition boot, where any computer can edit it.`,
		Args: arguments(cobra.NoArgs),
	}
	cmd.AddCommand(newConfigCheck(s), &cobra.Command{
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

func newConfigCheck(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Tell whether a node will accept a config",
		Long: `check reads node configs as a node does and names every mistake by file, line and
column. The exit code is 1 if there is one.`,
		Example: `  builder config check shop-17.yaml
  builder config check --json shops/*.yaml | jq -r '.findings[] | "\(.file):\(.line) \(.message)"'`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			findings := []builder.ConfigFinding{}
			for _, name := range args {
				err := builder.CheckConfig(name)
				findings = append(findings, builder.ConfigFindings(name, err)...)
				switch {
				case s.json: // all at the end
				case err != nil:
					fmt.Fprintln(cmd.ErrOrStderr(), err)
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", name)
				}
			}
			if s.json {
				if err := printJSON(cmd, checked{Valid: len(findings) == 0, Findings: findings}); err != nil {
					return err
				}
			}
			if len(findings) > 0 {
				return errFindings
			}
			return nil
		},
	}
}

// checked is what config check prints as JSON.
type checked struct {
	Valid    bool                    `json:"valid"`
	Findings []builder.ConfigFinding `json:"findings"`
}
