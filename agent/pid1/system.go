package pid1

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// System is what Shutdown asks of the kernel. Any call may hang; Shutdown
// copes.
type System interface {
	// Processes lists all processes.
	Processes() ([]Process, error)
	Kill(pid int, s unix.Signal) error
	// Sync writes out everything that is dirty.
	Sync()
	// Mounts lists what is mounted, in the order of mounting.
	Mounts() ([]Mount, error)
	// Unmount unmounts a path with flags of umount2(2).
	Unmount(path string, flags int) error
	// ReadOnly makes the file system mounted at path read-only.
	ReadOnly(path string) error
	// Reboot is reboot(2); it returns from the commands that end the system
	// only if they failed.
	Reboot(command int) error
}

// Kernel returns the System that is the running kernel.
func Kernel() System { return kernel{} }

type kernel struct{}

func (kernel) Processes() ([]Process, error)     { return processes() }
func (kernel) Kill(pid int, s unix.Signal) error { return unix.Kill(pid, s) }
func (kernel) Sync()                             { unix.Sync() }

func (kernel) Mounts() ([]Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	return parseMounts(f)
}

func (kernel) Unmount(path string, flags int) error { return unix.Unmount(path, flags) }

func (kernel) ReadOnly(path string) error {
	// The file system, not only this mount: MS_BIND is not set.
	return unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func (kernel) Reboot(command int) error {
	err := unix.Reboot(command)
	if err == nil || command != unix.LINUX_REBOOT_CMD_RESTART {
		return err
	}
	// The last door: sysrq reboots without asking any driver.
	return errors.Join(err, os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0))
}
