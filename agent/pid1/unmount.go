package pid1

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// pseudo are file systems that hold nothing to lose. They stay where they are
// below a kept mount point.
var pseudo = []string{
	"autofs", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
	"hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "ramfs", "securityfs", "sysfs", "tmpfs", "tracefs",
}

// unmountAll unmounts everything in reverse order of mounting. What is busy is
// tried again after the rest, for as long as that helps; then its file system
// is made read-only, and detached if even that fails.
func (s *Shutdown) unmountAll(ctx context.Context) {
	var mounts []Mount
	s.step(ctx, "list mounts", s.UnmountTime, func(context.Context) error {
		m, err := s.Sys.Mounts()
		mounts = m
		return err
	})
	todo := slices.DeleteFunc(slices.Clone(mounts), s.stays)
	slices.Reverse(todo)
	reasons := map[string]error{}
	hung := map[string]bool{}
	for len(todo) > 0 {
		var busy []Mount
		for _, m := range todo {
			if ctx.Err() != nil {
				return
			}
			err := s.tryMount(ctx, func() error { return s.Sys.Unmount(m.Path, unix.UMOUNT_NOFOLLOW) })
			switch {
			case errors.Is(err, errHung):
				hung[m.Path] = true
				s.Log.Warn("shutdown: unmount hangs, left behind", "path", m.Path)
			case err != nil && !errors.Is(err, unix.EINVAL): // EINVAL: no longer mounted
				busy = append(busy, m)
				reasons[m.Path] = err
			}
		}
		if len(busy) == len(todo) {
			break
		}
		todo = busy
	}
	for _, m := range todo {
		if hung[m.Path] || ctx.Err() != nil {
			continue
		}
		s.Log.Warn("shutdown: cannot unmount", "path", m.Path, "err", reasons[m.Path])
		if s.tryMount(ctx, func() error { return s.Sys.ReadOnly(m.Path) }) == nil {
			continue
		}
		if err := s.tryMount(ctx, func() error { return s.Sys.Unmount(m.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }); err != nil {
			s.Log.Warn("shutdown: cannot detach either", "path", m.Path, "err", err)
		}
	}
}

// stays tells whether a mount needs no unmounting.
func (s *Shutdown) stays(m Mount) bool {
	if slices.Contains(s.Keep, m.Path) {
		return true
	}
	if !slices.Contains(pseudo, m.Type) {
		return false
	}
	return slices.ContainsFunc(s.Keep, func(kept string) bool {
		return kept != "/" && strings.HasPrefix(m.Path, kept+"/")
	})
}

// tryMount bounds one call: a network file system whose server is gone hangs,
// and the others must not wait for it.
func (s *Shutdown) tryMount(ctx context.Context, f func() error) error {
	return bounded(ctx, s.UnmountTime, func(context.Context) error { return f() })
}
