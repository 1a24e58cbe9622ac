package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder/inspect"
	"github.com/skerry-os/skerry/builder/progress"
)

// errFindings says that what is wrong was printed already.
var errFindings = errors.New("findings were printed")

func newInspect(s *settings) *cobra.Command {
	var o inspect.Options
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show what an image is made of, and check it",
		Long: `inspect takes a disk image apart, without mounting it, and shows its partitions,
releases, sizes and digests. It checks the partition table, the file system of
partition boot, everything that is needed from the firmware to /sbin/init, the
hash tree, and every file of the root: that programs are for the board and have
their libraries, and that modules are those of the kernel. If the release's
manifest lies beside the image, both must agree.

What is wrong is printed as findings, and the exit code is then 1.`,
		Example: `  builder inspect skerry-1.2.0-x86_64.img
  builder inspect --json skerry-1.2.0-arm64.img | jq '.findings'`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Progress = progress.New(cmd.ErrOrStderr())
			defer o.Progress.Close()
			report, err := inspect.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			if s.json {
				err = printJSON(cmd, report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && len(report.Findings) > 0 {
				err = errFindings
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.WorkDir, "work-dir", "", "folder to unpack the root in (default: the system's temporary folder)")
	return cmd
}
