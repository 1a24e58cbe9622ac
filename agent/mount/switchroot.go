package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// moved are the mounts that go from the initramfs to the root.
var moved = []string{"/dev", "/proc", "/sys", "/run"}

// SwitchRoot makes newroot, a mount point, the root of this process: it moves
// /dev, /proc, /sys and /run there, puts newroot in the place of / and frees the
// memory of the initramfs by deleting its files. The caller's own program is deleted
// but in use: it stays in memory for as long as the process runs.
//
// It follows switch_root(8). Deletion is last, so that a failure before it
// leaves an initramfs that can say so; it is not done if the old root is
// anything but memory. The root is changed for all threads: none should
// be opening files by name meanwhile.
func SwitchRoot(newroot string) error {
	old, err := os.Open("/")
	if err != nil {
		return fmt.Errorf("switch root to %s: %w", newroot, err)
	}
	defer old.Close()
	memory, err := inMemory(old)
	if err != nil {
		return fmt.Errorf("switch root to %s: %w", newroot, err)
	}
	switch _, isRoot, err := (Linux{}).MountID(newroot); {
	case err != nil:
		return fmt.Errorf("switch root to %s: %w", newroot, err)
	case !isRoot:
		return fmt.Errorf("switch root to %s: it is not a mount point: mount the root file system there first", newroot)
	}
	for _, dir := range moved {
		if _, isRoot, err := (Linux{}).MountID(dir); err != nil || !isRoot {
			continue // not mounted in this stage
		}
		if err := unix.Mount(dir, filepath.Join(newroot, dir), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("switch root: move %s to %s: %w: does the root file system have that directory?", dir, newroot, err)
		}
	}
	if err := unix.Chdir(newroot); err != nil {
		return fmt.Errorf("switch root: change to %s: %w", newroot, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch root: move %s to /: %w", newroot, err)
	}
	if err := errors.Join(unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("switch root: enter %s: %w", newroot, err)
	}
	if !memory {
		return nil
	}
	if err := removeContents(int(old.Fd())); err != nil {
		return fmt.Errorf("switch root: free the initramfs: %w", err)
	}
	return nil
}

// inMemory reports whether dir is on a ramfs or tmpfs, as an initramfs is.
func inMemory(dir *os.File) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return false, err
	}
	return uint64(st.Type) == unix.RAMFS_MAGIC || uint64(st.Type) == unix.TMPFS_MAGIC, nil
}

// removeContents deletes everything in the directory behind fd and below,
// except what is mounted there: it never enters another mount, never follows a
// symbolic link, and goes by descriptors, so that no name can be exchanged under
// it. It goes on after failures and returns the first.
func removeContents(fd int) error {
	mount, err := mountOfFD(fd)
	if err != nil {
		return err
	}
	return removeOn(mount, fd)
}

// mountOfFD returns the id of the mount an open directory is on. The device's
// number would not do: a bind mount has the number of what it shows.
func mountOfFD(fd int) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID == 0 {
		err = errors.ErrUnsupported
	}
	return st.Mnt_id, err
}

func removeOn(mount uint64, dir int) error {
	// A second descriptor leaves the position of the caller's alone, and os.File
	// closes what it reads.
	own, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(own), ".")
	defer file.Close()
	names, first := file.Readdirnames(-1)
	for _, name := range names {
		if err := removeEntry(mount, own, name); first == nil && !errors.Is(err, fs.ErrNotExist) {
			first = err
		}
	}
	return first
}

// removeEntry deletes name in dir with all below it. What is a mount point, or
// holds one, stays without an error.
func removeEntry(mount uint64, dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	child, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(child)
	if on, err := mountOfFD(child); err != nil || on != mount {
		return err
	}
	if err := removeOn(mount, child); err != nil {
		return err
	}
	err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}
