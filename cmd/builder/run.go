package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/qemu"
)

func newRun(s *settings) *cobra.Command {
	var (
		o     builder.RunOptions
		ports []string
	)
	cmd := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Boot an image under QEMU",
		Long: `run boots a disk image as its board would: UEFI firmware, a disk, a network card,
and the serial console on this terminal. The image itself is not changed: the
machine gets a copy, which is removed when it ends unless --keep names it.

Ctrl-A X ends the machine at once, like pulling the plug; Ctrl-A C reaches
QEMU's own prompt, where system_powerdown presses the power button.

Machines with the same --lan share a network, as long as the one runs that was
started first. The machine that first asks for an address gets 10.0.2.15, and the
ports of --port are its: wait for it before starting others.`,
		Example: `  builder run skerry-1.2.0-x86_64.img
  builder run --config shop-17.yaml --disk nvme --port 6443:6443 skerry-1.2.0-x86_64.img
  builder run --keep node.disk skerry-1.2.0-arm64.img
  builder run --lan /tmp/shop --config till-2.yaml skerry-1.2.0-x86_64.img`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Image = args[0]
			if o.DiskGiB < 1 {
				return usageError{fmt.Errorf("--disk-size %d: a disk has 1 GiB at least", o.DiskGiB)}
			}
			for _, port := range ports {
				forward, err := qemu.ParseForward(port)
				if err != nil {
					return usageError{err}
				}
				o.Forwards = append(o.Forwards, forward)
			}
			source, err := s.root()
			if err != nil {
				return err
			}
			o.Source = source
			o.Stdin, o.Stdout, o.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return builder.Run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Board, "board", "", "board whose machine to run (default: the one in the image's name)")
	flags.StringVar(&o.Config, "config", "", "node config to put on the copy's partition boot")
	flags.IntVar(&o.Memory, "memory", 1024, "memory in MiB")
	flags.IntVar(&o.CPUs, "cpus", 2, "number of processors")
	flags.StringVar(&o.Bus, "disk", "virtio", "bus of the disk: "+strings.Join(qemu.Buses, ", "))
	flags.Int64Var(&o.DiskGiB, "disk-size", 8, "size of the disk in GiB")
	flags.StringArrayVar(&ports, "port", nil, "make a TCP port of the node reachable at 127.0.0.1, as HOST:NODE; may be repeated")
	flags.StringVar(&o.Keep, "keep", "", "file for the disk, used again if it exists")
	flags.StringVar(&o.LAN, "lan", "", "socket of a network that machines on this host share, made by the first")
	flags.BoolVar(&o.NoNetwork, "no-network", false, "leave the machine without a network card")
	cmd.MarkFlagsMutuallyExclusive("lan", "no-network")
	must(cmd.RegisterFlagCompletionFunc("board", s.completeBoards))
	must(cmd.RegisterFlagCompletionFunc("disk", cobra.FixedCompletions(qemu.Buses, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}
