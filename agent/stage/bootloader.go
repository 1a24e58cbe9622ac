package stage

import (
	"context"
	"os"

	"github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/agent/status"
)

// commandLineFile has what the boot chain passed to the kernel.
const commandLineFile = "/proc/cmdline"

// bootloader returns the boot chain that started this node, nil if it is none that
// the agent knows. What the kernel's command line says decides: a board with
// U-Boot may have EFI variables, too. The one of UEFI reads partition boot, which
// is to be open.
func (n *node) bootloader() (slot.Bootloader, error) {
	running := slot.Slot{Letter: n.Slot, Version: n.release.version}
	commandLine, err := os.ReadFile(commandLineFile)
	if err != nil {
		return nil, err
	}
	_, layout, byUBoot, err := slot.BootedByUBoot(string(commandLine))
	switch {
	case err != nil:
		return nil, err
	case byUBoot:
		return slot.UBoot{
			Running: running, CommandLine: string(commandLine), Layout: layout,
			Open: func() (slot.StateDisk, error) { return slot.OpenInPlace(n.Disk.Node) },
		}, nil
	}
	if _, err := os.Stat(efivars); err != nil {
		return nil, nil
	}
	if n.partitionBoot == nil {
		b, err := n.openBoot()
		if err != nil {
			return nil, err
		}
		n.partitionBoot = &b
	}
	return slot.UEFI{Boot: n.partitionBoot, Variables: slot.Variables(efivars), Running: running}, nil
}

// closeBoot closes partition boot if it is open.
func (n *node) closeBoot() {
	if n.partitionBoot != nil {
		n.partitionBoot.Close()
		n.partitionBoot = nil
	}
}

// checkTrial tells whether this boot decides about the release.
func (n *node) checkTrial(context.Context) error {
	defer n.closeBoot()
	loader, err := n.bootloader()
	if err != nil || loader == nil {
		return err
	}
	_, trial, err := loader.Booted()
	if err != nil {
		return err
	}
	n.status.Update(func(s *status.Status) { s.Trial = trial })
	if uboot, ok := loader.(slot.UBoot); ok {
		// The node runs, but another copy must not break before somebody knows.
		if err := uboot.Problem(); err != nil {
			n.status.Report("boot state", err.Error())
		}
	}
	return nil
}
