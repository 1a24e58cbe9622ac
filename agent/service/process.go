package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/cgroup"
	"github.com/skerry-os/skerry/agent/logring"
)

// Starter starts children and collects them; pid1.Reaper is one. In a process
// that reaps no orphans, PlainStarter does.
type Starter interface {
	Start(*exec.Cmd) error
	Wait(*exec.Cmd) error
}

// PlainStarter starts children as package exec does.
type PlainStarter struct{}

func (PlainStarter) Start(cmd *exec.Cmd) error { return cmd.Start() }
func (PlainStarter) Wait(cmd *exec.Cmd) error  { return cmd.Wait() }

// run is one run of a service.
type run interface {
	// PID is the id of the main process.
	PID() int
	// Signal signals the main process.
	Signal(unix.Signal) error
	// Kill kills every process of the run.
	Kill() error
	// Exited is closed when the main process has ended; Result tells how,
	// nil for status 0.
	Exited() <-chan struct{}
	Result() error
	// Owns tells whether a process belongs to the run.
	Owns(pid int) bool
	// Release kills what is left, waits for its last output until ctx ends,
	// and removes the group.
	Release(ctx context.Context) error
	// Output returns the last lines.
	Output() []string
}

// outputLines is how many lines of a run's output are kept for its status.
const outputLines = 20

// child is a run as a real process.
type child struct {
	cmd     *exec.Cmd
	group   *cgroup.Group // nil without cgroups: the session's process group stands in
	exited  chan struct{}
	result  error
	drained chan struct{} // closed when the output has ended
	pipe    *os.File

	mu    sync.Mutex
	lines []string
}

// launch starts a service's program: in its group from the first moment, in a
// session of its own, without a terminal, with /dev/null as input and its
// output going to the ring.
func (s *Supervisor) launch(spec Spec) (run, error) {
	c := &child{exited: make(chan struct{}), drained: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: spec.Command[0], Args: spec.Command, Dir: "/",
		Env:         spec.environment(s.socketPath(spec.Name)),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if s.cgroups != nil {
		group, err := s.cgroups.Create(spec.Name, cgroup.Limits{MemoryMax: spec.MemoryMax, PidsMax: spec.PidsMax})
		if err != nil {
			return nil, err
		}
		dir, err := group.Open()
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		cgroup.Place(c.cmd.SysProcAttr, dir)
		c.group = group
	}
	// A pipe of our own, one for both streams: their order is kept, and
	// waiting for the process does not wait for whoever holds its output.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	c.cmd.Stdout, c.cmd.Stderr, c.pipe = write, write, read
	err = s.starter.Start(c.cmd)
	write.Close()
	if err != nil {
		read.Close()
		if c.group != nil {
			err = errors.Join(explain(spec, err), c.group.Remove())
			return nil, err
		}
		return nil, explain(spec, err)
	}
	// What the program forks before this keeps PID 1's value, which protects
	// from the OOM killer. There is no way to set it before the exec.
	adjust := fmt.Sprintf("/proc/%d/oom_score_adj", c.cmd.Process.Pid)
	if err := os.WriteFile(adjust, fmt.Append(nil, spec.OOMScoreAdjust), 0); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		s.log.Warn("cannot set a service's oom_score_adj", "service", spec.Name, "err", err)
	}
	go c.copyOutput(s.ring.Writer(spec.Name, slog.LevelInfo))
	go func() {
		c.result = c.explainEnd(s.starter.Wait(c.cmd), spec)
		close(c.exited)
	}()
	return c, nil
}

// explain says in the operator's words why a program did not start.
func explain(spec Spec, err error) error {
	program := spec.Command[0]
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(program); statErr == nil {
			return fmt.Errorf("start %s: %s is there, but the interpreter or loader it names is not: %w", spec.Name, program, err)
		}
		return fmt.Errorf("start %s: there is no program %s in this image: %w", spec.Name, program, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("start %s: %s is not executable: %w", spec.Name, program, err)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("start %s: %s is not a program for this machine: %w", spec.Name, program, err)
	}
	return fmt.Errorf("start %s: %w", spec.Name, err)
}

// explainEnd says how a program ended; nil for status 0.
func (c *child) explainEnd(err error, spec Spec) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return err
	}
	if c.group != nil && status.Signal() == syscall.SIGKILL {
		if u, e := c.group.Usage(); e == nil && u.OOMKills > 0 {
			return fmt.Errorf("killed for want of memory at %d bytes (its limit is %d, 0 means that the node's ran out): %w", u.MemoryPeak, spec.MemoryMax, err)
		}
	}
	return fmt.Errorf("killed by %s: %w", unix.SignalName(status.Signal()), err)
}

func (c *child) copyOutput(w *logring.Writer) {
	defer close(c.drained)
	w.OnLine = func(line string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.lines) == outputLines {
			copy(c.lines, c.lines[1:])
			c.lines = c.lines[:outputLines-1]
		}
		c.lines = append(c.lines, line)
	}
	// It ends with the last holder of the pipe, or when Release closes it.
	io.Copy(w, c.pipe)
	w.Close()
}

func (c *child) PID() int                { return c.cmd.Process.Pid }
func (c *child) Exited() <-chan struct{} { return c.exited }
func (c *child) Result() error           { return c.result }

func (c *child) Signal(s unix.Signal) error {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (c *child) Kill() error {
	if c.group != nil {
		return c.group.Kill()
	}
	// A session leader's process group has its id.
	if err := unix.Kill(-c.PID(), unix.SIGKILL); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill process group %d: %w", c.PID(), err)
	}
	return nil
}

func (c *child) Owns(pid int) bool {
	if pid == c.PID() {
		return true
	}
	if c.group != nil {
		return c.group.Contains(pid)
	}
	session, err := unix.Getsid(pid)
	return err == nil && session == c.PID()
}

func (c *child) Release(ctx context.Context) error {
	err := c.Kill()
	if c.group != nil {
		if e := c.group.WaitEmpty(ctx); e != nil {
			err = errors.Join(err, e)
		} else {
			err = errors.Join(err, c.group.Remove())
		}
	}
	select {
	case <-c.drained:
	case <-ctx.Done():
	case <-time.After(time.Second):
		// Somebody outside the group holds the pipe.
	}
	c.pipe.Close()
	<-c.drained
	return err
}

func (c *child) Output() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}
