package standalone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/procfs"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// namespacesDir is where network namespaces have names, see ip-netns(8).
	// Those of Pods begin with cni-.
	namespacesDir = "/run/netns"
	// endTimeout is how long killed processes may take to be gone.
	endTimeout = 30 * time.Second
)

// endControlGroup kills all processes of a control group and of those below it,
// and removes the groups (cgroup-v2, cgroup.kill).
func endControlGroup(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	for {
		err := removeControlGroup(dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes of control group %s do not end: %w", dir, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// removeControlGroup removes a control group and those below it. It fails with
// EBUSY as long as one has a process.
func removeControlGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeControlGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: dir, Err: err}
	}
	return nil
}

// mountsBelow returns what is mounted at paths that begin with a prefix, or below
// it: the last that was mounted first.
func mountsBelow(prefixes ...string) ([]string, error) {
	contents, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(contents), prefixes), nil
}

func parseMounts(mountinfo string, prefixes []string) (points []string) {
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := procfs.Unescape(fields[4])
		if slices.ContainsFunc(prefixes, func(prefix string) bool {
			// A prefix that ends in a sign of its own is one of names.
			return strings.HasPrefix(point, strings.TrimSuffix(prefix, "/")+"/") || strings.HasSuffix(prefix, "-") && strings.HasPrefix(point, prefix)
		}) {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}

func unmount(points []string) error {
	var errs []error
	for _, point := range points {
		// Another one's propagation may have taken it away already.
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &fs.PathError{Op: "unmount", Path: point, Err: err})
		}
	}
	return errors.Join(errs...)
}

// removeNamespaces removes the names of the Pods' network namespaces, which are
// not mounted any more, and their folder if nobody else has any there.
func removeNamespaces() error { return removeFrom(namespacesDir, "cni-*") }

// removeFrom removes the files of a folder that match a pattern, and the folder
// if nobody has anything else there.
func removeFrom(folder, pattern string) error {
	names, err := filepath.Glob(filepath.Join(folder, pattern))
	for _, name := range names {
		if e := os.Remove(name); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	_ = os.Remove(folder)
	return err
}

// removeInterfaces removes interfaces by their names, and those that are ports
// of them.
func removeInterfaces(w *writer, names []string) error {
	links, err := consistent(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	var errs []error
	masters := map[int]bool{}
	for _, link := range links {
		if slices.Contains(names, link.Attrs().Name) {
			masters[link.Attrs().Index] = true
		}
	}
	for _, link := range links {
		attrs := link.Attrs()
		if !masters[attrs.Index] && !(link.Type() == "veth" && masters[attrs.MasterIndex]) {
			continue
		}
		// The end of a Pod's namespace takes its interface away.
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("remove interface %s: %w", attrs.Name, err))
			continue
		}
		w.say("removed interface %s", attrs.Name)
	}
	return errors.Join(errs...)
}

const (
	// dumpTries is how often a list that changes is read, dumpPause what it is
	// given to settle.
	dumpTries = 50
	dumpPause = 100 * time.Millisecond
)

// consistent reads a list of the kernel's again if it changed while it was read,
// as that of interfaces does while the namespaces of Pods are taken away.
func consistent[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		time.Sleep(dumpPause)
	}
	return all, err
}

// removeTables removes tables of nftables by their names.
func removeTables(w *writer, names []string) error {
	connection, err := nftables.New()
	if err != nil {
		return fmt.Errorf("speak with nf_tables: %w", err)
	}
	tables, err := connection.ListTables()
	if err != nil {
		return fmt.Errorf("list tables of nftables: %w", err)
	}
	var removed []string
	for _, table := range tables {
		if slices.Contains(names, table.Name) {
			connection.DelTable(table)
			removed = append(removed, table.Name)
		}
	}
	if len(removed) == 0 {
		return nil
	}
	if err := connection.Flush(); err != nil {
		return fmt.Errorf("remove tables of nftables: %w", err)
	}
	w.say("removed nftables %s", strings.Join(removed, ", "))
	return nil
}
