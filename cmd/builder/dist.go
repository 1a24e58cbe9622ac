package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/progress"
)

func newDist(s *settings) *cobra.Command {
	var o builder.DistOptions
	cmd := &cobra.Command{
		Use:   "dist --arch ARCHITECTURE",
		Short: "Make the download that installs skerry on any Linux with systemd",
		Long: `dist makes one file, skerry-VERSION-linux-ARCHITECTURE, and adds it to SHA256SUMS
in the output folder. It has what an image has of the cluster: skerry, the shim,
runc, the CNI plugins and the container images. Run on a machine with the argument
"install server" or "install agent" it unpacks itself and starts the service.

The same sources and packages give the same bytes. What earlier runs made is
taken from the cache.`,
		Example: `  builder dist --arch amd64
  builder dist --arch arm64 --version 1.2.0 --release --output out`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Architecture == "" {
				return usageError{errors.New("for which architecture? pass --arch " + strings.Join(builder.DistArchitectures, " or "))}
			}
			source, err := s.root()
			if err != nil {
				return err
			}
			o.Source = source
			p := progress.New(cmd.ErrOrStderr())
			defer p.Close()
			made, err := builder.Dist(cmd.Context(), o, p)
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(cmd, made)
			}
			fmt.Fprintln(cmd.OutOrStdout(), made.File)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Architecture, "arch", "", "architecture to make it for: "+strings.Join(builder.DistArchitectures, ", ")+" (required)")
	flags.StringVar(&o.Version, "version", "", "version of the distribution (default: from git)")
	flags.BoolVar(&o.Release, "release", false, "compress as small as it gets; takes minutes longer")
	folderFlags(flags, &o.Output, &o.Cache)
	mirrorFlags(flags, &o.Mirror, &o.Refresh)
	must(cmd.RegisterFlagCompletionFunc("arch", cobra.FixedCompletions(builder.DistArchitectures, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}
