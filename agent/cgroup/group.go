package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Group is the group of one service.
type Group struct{ name, path, root string }

// Path returns the group's directory.
func (g *Group) Path() string { return g.path }

// Open opens the group so that a child can be born in it: the descriptor is
// for Place, and the caller closes the file once the child has started.
func (g *Group) Open() (*os.File, error) {
	f, err := os.OpenFile(g.path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup of %s: %w", g.name, err)
	}
	return f, nil
}

// Place makes a child started with attr be born in the group of file dir
// (clone3 with CLONE_INTO_CGROUP, Linux 5.7): it never runs a moment outside.
func Place(attr *syscall.SysProcAttr, dir *os.File) {
	attr.UseCgroupFD = true
	attr.CgroupFD = int(dir.Fd())
}

// Kill sends SIGKILL to every process of the group and of groups below it, at
// once (cgroup.kill, Linux 5.14): a process that forks cannot get away.
func (g *Group) Kill() error {
	if err := write(g.path, "cgroup.kill", "1"); err != nil && !gone(err) {
		return fmt.Errorf("kill cgroup of %s: %w", g.name, err)
	}
	return nil
}

// Procs returns the ids of all processes of the group and of groups below it,
// in ascending order.
func (g *Group) Procs() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(g.path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			if gone(err) {
				return nil
			}
			return err
		}
		text, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", g.name, err)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// Contains tells whether the process is in the group or in a group below it.
// A process that is gone is in no group.
func (g *Group) Contains(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(g.root, g.path)
	if err != nil {
		return false
	}
	return inGroup(string(text), "/"+rel)
}

// inGroup looks for cgroup v2's line, `0::/system/name`, in the text of
// /proc/PID/cgroup (cgroups(7)).
func inGroup(text, group string) bool {
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return p == group || strings.HasPrefix(p, group+"/")
		}
	}
	return false
}

// Populated tells whether a process lives in the group or below it.
func (g *Group) Populated() (bool, error) {
	value, err := g.keyed("cgroup.events", "populated")
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("see whether cgroup of %s is empty: %w", g.name, err)
	}
	return value != 0, nil
}

// WaitEmpty returns nil once no process is left in the group, and the
// context's error if it ends before that.
func (g *Group) WaitEmpty(ctx context.Context) error {
	w, err := watch(ctx, filepath.Join(g.path, "cgroup.events"))
	if gone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch cgroup of %s: %w", g.name, err)
	}
	defer w.Close()
	for {
		populated, err := g.Populated()
		if err != nil || !populated {
			return err
		}
		if err := w.next(); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("wait for cgroup of %s to empty: %w", g.name, ctx.Err())
			}
			return fmt.Errorf("watch cgroup of %s: %w", g.name, err)
		}
	}
}

// Remove removes the group and the groups below it, which must be empty.
// Removing a group that is gone succeeds.
func (g *Group) Remove() error {
	var dirs []string
	err := filepath.WalkDir(g.path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if gone(err) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		if e := syscall.Rmdir(dir); e != nil && !gone(e) {
			err = errors.Join(err, &fs.PathError{Op: "rmdir", Path: dir, Err: e})
		}
	}
	if err != nil {
		return fmt.Errorf("remove cgroup of %s: %w", g.name, err)
	}
	return nil
}

// Usage is what a group has used. A value whose controller is missing is 0.
type Usage struct {
	MemoryCurrent int64 // bytes now
	MemoryPeak    int64 // bytes at the most since the group was made
	CPU           time.Duration
	CPUUser       time.Duration
	CPUSystem     time.Duration
	OOMKills      int64 // processes the kernel killed for want of memory
}

// Usage reads memory.current, memory.peak, memory.events and cpu.stat.
func (g *Group) Usage() (Usage, error) {
	var u Usage
	var us, user, sys int64
	var errs []error
	for _, f := range []struct {
		into      *int64
		file, key string
	}{
		{&u.MemoryCurrent, "memory.current", ""},
		{&u.MemoryPeak, "memory.peak", ""},
		{&u.OOMKills, "memory.events", "oom_kill"},
		{&us, "cpu.stat", "usage_usec"},
		{&user, "cpu.stat", "user_usec"},
		{&sys, "cpu.stat", "system_usec"},
	} {
		value, err := g.keyed(f.file, f.key)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("read usage of cgroup %s: %w", g.name, err))
		}
		*f.into = value
	}
	u.CPU = time.Duration(us) * time.Microsecond
	u.CPUUser = time.Duration(user) * time.Microsecond
	u.CPUSystem = time.Duration(sys) * time.Microsecond
	return u, errors.Join(errs...)
}

// keyed reads a number from a flat keyed file, or the file's only number if
// key is empty. A key that is not there reads as 0.
func (g *Group) keyed(file, key string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.path, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case key == "" && len(fields) == 1:
			return strconv.ParseInt(fields[0], 10, 64)
		case len(fields) == 2 && fields[0] == key:
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, nil
}

// gone tells whether err means that the group no longer exists: ENODEV is what
// an open control file answers once its group was removed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}
