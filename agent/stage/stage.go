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
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/slot"
)

// Places on a node.
const (
	runDir      = "/run/skerry"
	handoverTo  = runDir + "/boot.json"
	resolvConf  = runDir + "/resolv.conf"
	notifyDir   = runDir + "/notify"
	bootDir     = "/boot"
	dataDir     = "/var"
	stateDir    = dataDir + "/lib/skerry"
	logDir      = dataDir + "/log/skerry"
	servicesDir = "/usr/lib/skerry/services"
	efivars     = "/sys/firmware/efi/efivars"
	// RootInit is the agent's program in the root.
	RootInit = "/usr/sbin/init"
)

// handover is what the initramfs stage found out and the root stage needs. It
// travels as a file in /run, which moves along.
type handover struct {
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

func (h handover) write() error {
	contents, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(handoverTo), 0o755); err != nil {
		return err
	}
	return os.WriteFile(handoverTo, contents, 0o600)
}

func readHandover() (handover, error) {
	var h handover
	contents, err := os.ReadFile(handoverTo)
	if err == nil {
		err = json.Unmarshal(contents, &h)
	}
	if err != nil {
		return h, fmt.Errorf("read what the initramfs stage found: %w", err)
	}
	return h, nil
}

// uptime returns the time since the kernel started, suspended time included.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
