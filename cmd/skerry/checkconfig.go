package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/hostcheck"
)

func checkConfigCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check-config [server|agent]",
		Short: "Tell what this machine's kernel or system lacks",
		Long: `Tell what this machine's kernel or system lacks for a server or an agent: one line
for each check, and what to do. Settings are those of the settings file, if it is
there; without it and an argument the check is for a server.

The exit code is 1 if something is missing without which it cannot work.`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(config.Server), string(config.Agent)},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, wrong, err := checkedSettings(file, cmd.Flags().Changed("config"), args)
			if err != nil {
				return err
			}
			findings := hostcheck.Host{}.Check(cmd.Context(), cluster.Needs(c))
			write := hostcheck.WriteText
			if asJSON {
				write = hostcheck.WriteJSON
			}
			if err := write(cmd.OutOrStdout(), findings); err != nil {
				return err
			}
			if wrong != nil {
				return wrong
			}
			if hostcheck.Refuse(findings) != nil {
				return errMissing
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", config.File, "file with settings")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// errMissing says that what is missing was printed already.
var errMissing = errors.New("this machine lacks what is marked as missing")

// checkedSettings are those of the file, which is one of the role asked for, and
// what is wrong with them: the machine is looked at all the same.
func checkedSettings(file string, required bool, args []string) (c *config.Config, wrong, err error) {
	role, err := config.ReadRole(file)
	there := err == nil
	if err != nil {
		role = config.Server
		if required {
			return nil, nil, err
		}
	}
	if len(args) == 1 && config.Role(args[0]) != role {
		if there && required {
			return nil, nil, fmt.Errorf("%s is of a %s: leave out %s", file, role, args[0])
		}
		return config.Defaults(config.Role(args[0])), nil, nil
	}
	c = config.Defaults(role)
	if !there {
		return c, nil, nil
	}
	if err := config.ReadFile(file, required, allFlags(c), c); err != nil {
		return nil, nil, err
	}
	return c, c.Complete(), nil
}
