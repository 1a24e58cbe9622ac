// Package cgroup keeps the node's cgroup v2 hierarchy: one group for each
// service below `system`, made before the service starts and removed after it
// ended.
//
// It promises that a group's limits stand before its first process runs, that
// Kill reaches every process of a group whatever it forks, and that waiting
// for a group to empty is an event, not a poll. Everything is relative to a
// root path, so that a plain directory can stand in for the file system.
//
// Groups of pods belong to the kubelet, which makes `kubepods` next to
// `system`. Deciding limits and when to kill belongs to package service.
//
// Source: Linux Documentation/admin-guide/cgroup-v2.rst.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultRoot is where the hierarchy is mounted on a node.
const DefaultRoot = "/sys/fs/cgroup"

// systemGroup is the parent of all services' groups.
const systemGroup = "system"

// wanted are the controllers that services and the kubelet need.
var wanted = []string{"cpu", "cpuset", "io", "memory", "pids"}

// Hierarchy is a mounted cgroup v2 file system.
type Hierarchy struct{ root string }

// Mount mounts cgroup v2 at root, unless it is mounted there already.
// memory_recursiveprot makes memory.low of a pod's group protect its
// containers, as the kubelet expects.
func Mount(root string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return nil
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("cgroup2", root, "cgroup2", flags, "nsdelegate,memory_recursiveprot"); err != nil {
		return fmt.Errorf("mount cgroup v2 on %s: %w", root, err)
	}
	return nil
}

// Setup makes the parent of all services' groups and turns on the controllers
// cpu, cpuset, io, memory and pids at the root and below it. Controllers the
// kernel lacks or was told to leave off (cgroup_disable=memory) are returned
// in missing: the node runs without their limits, and says so.
func Setup(root string) (h *Hierarchy, missing []string, err error) {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return nil, nil, fmt.Errorf("set up cgroups: %s is not a cgroup v2 file system: %w", root, err)
	}
	h = &Hierarchy{root: root}
	parent := filepath.Join(root, systemGroup)
	if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, fmt.Errorf("set up cgroups: %w", err)
	}
	have := strings.Fields(string(available))
	for _, controller := range wanted {
		if !slices.Contains(have, controller) {
			missing = append(missing, controller)
			continue
		}
		// One write for each: a write that names several fails as a whole.
		for _, dir := range []string{root, parent} {
			if err := write(dir, "cgroup.subtree_control", "+"+controller); err != nil {
				return nil, nil, fmt.Errorf("turn on cgroup controller %s: %w", controller, err)
			}
		}
	}
	return h, missing, nil
}

// Limits bound a group. Zero means no limit.
type Limits struct {
	MemoryMax int64 // bytes; the group's processes are killed by the kernel above it
	PidsMax   int64 // tasks
}

// Create makes the group of the service called name and sets its limits. A
// group left over from an earlier run is used again. A limit whose controller
// is missing fails: a limit that is asked for but not kept would be a lie.
func (h *Hierarchy) Create(name string, limits Limits) (*Group, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	g := &Group{name: name, path: filepath.Join(h.root, systemGroup, name), root: h.root}
	if err := os.Mkdir(g.path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create cgroup of %s: %w", name, err)
	}
	for _, l := range []struct {
		file  string
		value int64
	}{{"memory.max", limits.MemoryMax}, {"pids.max", limits.PidsMax}} {
		value := "max"
		if l.value > 0 {
			value = fmt.Sprint(l.value)
		} else if _, err := os.Stat(filepath.Join(g.path, l.file)); err != nil {
			continue
		}
		if err := write(g.path, l.file, value); err != nil {
			return nil, fmt.Errorf("limit cgroup of %s: %w", name, err)
		}
	}
	return g, nil
}

// checkName refuses what would leave the parent or collide with control files.
func checkName(name string) error {
	if name == "" || len(name) > 64 || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "cgroup.") {
		return fmt.Errorf("create cgroup %q: the name must have 1 to 64 characters and start with a letter or digit", name)
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return fmt.Errorf("create cgroup %q: the name may hold letters, digits, '-', '_' and '.' only", name)
		}
	}
	return nil
}

// write writes one value to a control file. The file must exist: creating one
// in a plain directory would hide that there is no controller behind it.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
