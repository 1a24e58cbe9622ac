// Package stage is the course of a boot: the initramfs stage, which finds the
// slot and makes its root this machine's root, and the root stage, which brings
// the node up phase by phase, keeps it running and takes it down.
//
// It decides the order of things and what happens when one fails; how each is
// done is left to the agent's other packages. A phase that fails is shown with
// what to do about it, and the boot goes on with what can still work. Nothing
// here ends in a shell.
package stage

import (
	"context"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/slot"
)

// Places on a node.
const (
	runDir      = "/run/skerry"
	resolvConf  = runDir + "/resolv.conf"
	notifyDir   = runDir + "/notify"
	dataDir     = "/var"
	stateDir    = dataDir + "/lib/skerry"
	logDir      = dataDir + "/log/skerry"
	servicesDir = "/usr/lib/skerry/services"
	efivars     = "/sys/firmware/efi/efivars"
	// program is the agent's file in the root, which its helper names lead to.
	program = "/usr/sbin/init"
)

// origin is what the initramfs stage found out about this boot.
type origin struct {
	// KernelTime is how long the kernel had run when the agent started.
	KernelTime time.Duration
	Slot       slot.Letter
	Partition  blockdev.Device // of the slot
	Disk       blockdev.Device
	// DataDevice is what dm-verity calls the slot in the kernel's log.
	DataDevice string
	// Also are other partitions with the same release, as after flashing two disks.
	Also []blockdev.Device
}

// memoryLimit is what the agent's heap is held to: it shares a board with pods.
const memoryLimit = 24 << 20

// Boot is the life of process 1: the initramfs stage, the root stage, and the
// shutdown. It returns only if the boot cannot go on, or the machine could not
// be restarted.
//
// One process goes through both stages. The program in the root is the same one,
// and executing it would read 7 MB from the slot before the node does anything
// else: a quarter of a second, of three, on an emulated arm64. Its price is
// that the initramfs's copy of the program stays in memory.
func Boot(ctx context.Context) error {
	// Garbage is left alone until the node is up, unless there is much of it.
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(-1)
	from, err := initramfs(ctx)
	if err != nil {
		return err
	}
	return root(ctx, from)
}

// uptime returns the time since the kernel started, suspended time included.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
