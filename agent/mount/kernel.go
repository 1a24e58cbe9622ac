package mount

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is what this package asks of the kernel to mount; Linux is the real
// one.
type Kernel interface {
	// Mount is mount(2). An empty source or fstype means that none matters.
	Mount(source, target, fstype string, flags uintptr, data string) error
	// Unmount is umount2(2).
	Unmount(target string, flags int) error
	// MountInfo returns the mounts this process sees.
	MountInfo() ([]Info, error)
}

// Linux is the kernel this program runs on.
type Linux struct{}

// Mount implements Kernel. Errors are bare errnos: the caller knows what it was
// about.
func (Linux) Mount(source, target, fstype string, flags uintptr, data string) error {
	if source == "" {
		source = "none" // what /proc/mounts then shows, as with mount(8)
	}
	return unix.Mount(source, target, fstype, flags, data)
}

// Unmount implements Kernel.
func (Linux) Unmount(target string, flags int) error { return unix.Unmount(target, flags) }

// MountInfo implements Kernel. Before /proc is mounted the error is
// fs.ErrNotExist.
func (Linux) MountInfo() ([]Info, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer file.Close()
	return ParseMountInfo(file)
}

// host is what the programs mount and umount ask beyond Kernel.
type host interface {
	Kernel
	// MountID returns the id, as in mountinfo, of the mount that path is on, and
	// whether path is its root.
	MountID(path string) (id uint64, root bool, err error)
	// Filesystems returns the types the kernel knows now; true stands for one
	// that needs no block device.
	Filesystems() map[string]bool
	// Stat is os.Stat.
	Stat(path string) (fs.FileInfo, error)
	// Glob is filepath.Glob of a valid pattern.
	Glob(pattern string) []string
	// Device returns the name a block device has without symbolic links.
	Device(path string) string
	// AttachLoop puts a loop device on a file. Done drops the caller's hold: a
	// device that was not mounted until then is freed.
	AttachLoop(file string, o loopOptions) (device string, done func(), err error)
	// Probe returns the type of the file system on a device or in a file, or ""
	Probe(path string) (string, error)
	// Run runs a mount.TYPE or umount.TYPE program and returns its exit status;
	// fs.ErrNotExist if there is no such program.
	Run(path string, args []string, stdout, stderr io.Writer) (int, error)
}

// MountID implements host by statx(2), which asks nothing of the file system: a
// dead NFS server does not stop it (AT_STATX_DONT_SYNC).
func (Linux) MountID(path string) (uint64, bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
		return 0, false, err
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, false, errors.ErrUnsupported
	}
	return st.Mnt_id, st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Filesystems implements host.
func (Linux) Filesystems() map[string]bool {
	list, _ := os.ReadFile("/proc/filesystems") // no list: no type is known
	types := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		nodev, name, found := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if found {
			types[name] = nodev == "nodev"
		}
	}
	return types
}

// Stat implements host.
func (Linux) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// Glob implements host.
func (Linux) Glob(pattern string) []string {
	names, _ := filepath.Glob(pattern) // the only error is a bad pattern
	return names
}

// Run implements host.
func (Linux) Run(path string, args []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return exitFailure, nil // killed by a signal
	}
	return 0, err
}
