// Package pid1 is what a Linux system's first process owes the rest: it reaps
// orphans, turns signals into requests to reboot, power off or halt, and
// brings the system down in order and in bounded time.
//
// It promises that a child started through Reaper keeps its exit status
// however many orphans end at the same time, and that Shutdown reaches
// reboot(2) whatever hangs on the way.
//
// Which services there are and how they stop is left to package service, and
// the hardware watchdog, which covers a hanging kernel, to package watchdog.
package pid1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reaper waits for orphans, and only for them. A plain wait for any child
// would now and then take the exit status that an exec.Cmd is waiting for, and
// the Cmd would then report ECHILD. So every program PID 1 runs must be started
// through Start or Run while Reap runs; one started behind the reaper's back
// is taken for an orphan.
type Reaper struct {
	log *slog.Logger

	mu       sync.Mutex
	starting int         // children being started, whose ids are not known yet
	own      map[int]int // own children by id; a count, because ids are used again
	wake     chan struct{}

	reaped atomic.Uint64
	peeks  atomic.Uint64 // for the tests: how often the kernel was asked
}

// stuckAfter is how long a child of our own may stay uncollected before the
// zombies behind it are looked for the expensive way.
const stuckAfter = time.Second

// NewReaper returns a reaper. It must be called before Reap starts and may be
// called in any process.
func NewReaper(log *slog.Logger) *Reaper {
	// The first use of a process makes package os try CLONE_PIDFD with a child
	// of its own, which Start could not protect. Have that done now.
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Release()
	}
	return &Reaper{log: log, own: map[int]int{}, wake: make(chan struct{}, 1)}
}

// Start starts cmd as a child of our own. Collect it with Wait, not with
// cmd.Wait.
func (r *Reaper) Start(cmd *exec.Cmd) error {
	// The lock is not held across the fork: an exec that hangs on a dead disk
	// would stop everything else. Reaping pauses instead while a start is
	// under way, because until cmd.Process is set nobody can tell the new
	// child from an orphan.
	r.mu.Lock()
	r.starting++
	r.mu.Unlock()
	err := cmd.Start()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.own[cmd.Process.Pid]++
	}
	if r.starting--; r.starting == 0 {
		r.poke()
	}
	return err
}

// Wait waits for a child that Start started, as cmd.Wait does.
func (r *Reaper) Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	if cmd.Process == nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pid := cmd.Process.Pid
	if r.own[pid]--; r.own[pid] <= 0 {
		delete(r.own, pid)
	}
	// Orphans may have been waiting behind this one.
	r.poke()
	return err
}

// Run starts cmd and waits for it, as cmd.Run does.
func (r *Reaper) Run(cmd *exec.Cmd) error {
	if err := r.Start(cmd); err != nil {
		return err
	}
	return r.Wait(cmd)
}

// Reaped returns how many orphans were reaped.
func (r *Reaper) Reaped() uint64 { return r.reaped.Load() }

// Reap reaps orphans until ctx ends.
func (r *Reaper) Reap(ctx context.Context) {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)
	stuck := time.NewTimer(time.Hour)
	stuck.Stop()
	defer stuck.Stop()
	armed := false
	r.poke() // for those that ended before the signal was asked for
	for {
		select {
		case <-ctx.Done():
			return
		case <-child:
		case <-r.wake:
		case <-stuck.C:
			armed = false
			r.reapBehind()
			continue
		}
		blocked := r.reapFirst()
		switch {
		case blocked && !armed:
			stuck.Reset(stuckAfter)
			armed = true
		case !blocked && armed:
			stuck.Stop()
			armed = false
		}
	}
}

// poke makes Reap look again.
func (r *Reaper) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// reapFirst reaps as long as the first zombie is an orphan. It returns true if
// the first zombie is a child of our own: the kernel names no other then, and
// asking again would be a busy loop. Wait's poke makes Reap go on.
func (r *Reaper) reapFirst() (blocked bool) {
	for {
		r.mu.Lock()
		if r.starting > 0 {
			r.mu.Unlock()
			return false
		}
		r.peeks.Add(1)
		pid, err := firstZombie()
		if err != nil || pid == 0 {
			r.mu.Unlock()
			if err != nil && !errors.Is(err, unix.ECHILD) {
				r.log.Warn("cannot look for ended children", "err", err)
			}
			return false
		}
		if r.own[pid] > 0 {
			r.mu.Unlock()
			return true
		}
		r.reapLocked(pid)
		r.mu.Unlock()
	}
}

// reapBehind reaps the orphans that a child of our own stands before.
func (r *Reaper) reapBehind() {
	pids, err := zombieChildren()
	if err != nil {
		r.log.Warn("cannot list ended children", "err", err)
		return
	}
	for _, pid := range pids {
		r.mu.Lock()
		if r.starting == 0 && r.own[pid] == 0 {
			r.reapLocked(pid)
		}
		r.mu.Unlock()
	}
}

// reapLocked waits for one orphan. The lock keeps its id from becoming that of
// a child of our own meanwhile.
func (r *Reaper) reapLocked(pid int) {
	debug := r.log.Enabled(context.Background(), slog.LevelDebug)
	name := ""
	if debug {
		name = comm(pid)
	}
	var status unix.WaitStatus
	got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
	if err != nil || got != pid {
		return
	}
	r.reaped.Add(1)
	if debug {
		r.log.Debug("reaped an orphan", "pid", pid, "name", name, "status", describe(status))
	}
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// firstZombie returns the id of a child that ended and was not waited for, and
// leaves it so; 0 if there is none.
func firstZombie() (int, error) {
	// siginfo_t as waitid(2) fills it: si_pid follows three ints, aligned to
	// eight bytes where pointers have eight.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		offset := uintptr(12)
		if unsafe.Sizeof(uintptr(0)) == 8 {
			offset = 16
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), nil
	}
}
