// Package process runs parts of a server in processes of their own: the same
// program with other arguments.
//
// A child reads its settings from a pipe that its parent holds open. The end
// of the pipe tells the child that the parent is gone, however that came
// about, and to stop: no part is ever left behind alone.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/restart"
)

// settingsFD is where a child finds its settings: after standard error.
const settingsFD = 3

const (
	stopTimeout = 20 * time.Second // from SIGTERM to SIGKILL
	abortTime   = 5 * time.Second  // from SIGABRT to SIGKILL
	firstPause  = time.Second      // before a part is started again
	lastPause   = 30 * time.Second
)

// Part is a part of a server with a process of its own.
type Part struct {
	Name string // the hidden command that runs it
	// Watch returns an error when the part hangs, and nil when ctx ends. There has
	// to be one.
	Watch func(ctx context.Context, c *config.Config) error
}

// Run keeps a part running until ctx ends: a part that ends by itself, or that
// hangs and is ended, is started again after a pause that grows.
func (p Part) Run(ctx context.Context, c *config.Config) error {
	restart.Keep(ctx, firstPause, lastPause, func(ctx context.Context) error { return p.once(ctx, c) }, func(err error, pause time.Duration) {
		slog.Error("a part of the server ended", "part", p.Name, "error", err, "restart in", pause)
	})
	return nil
}

func (p Part) once(ctx context.Context, c *config.Config) error {
	settings, err := json.Marshal(c)
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer writer.Close()
	self, err := os.Executable()
	if err != nil {
		reader.Close()
		return err
	}
	cmd := exec.CommandContext(ctx, self, p.Name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{reader}
	cmd.Env = os.Environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	err = cmd.Start()
	reader.Close()
	if err != nil {
		return err
	}
	// Larger than a pipe's buffer it waits until the child reads, or is gone.
	if _, err := writer.Write(append(settings, '\n')); err != nil {
		cmd.Process.Kill()
	}
	running, end := context.WithCancel(ctx)
	hangs := make(chan error, 1)
	go func() {
		defer close(hangs)
		if err := p.Watch(running, c); err != nil {
			hangs <- err
			abort(running, cmd.Process)
		}
	}()
	err = cmd.Wait()
	end()
	if hung := <-hangs; hung != nil {
		return hung
	}
	if err == nil {
		return errors.New("it ended without an error")
	}
	return err
}

// abort ends a process that hangs and waits until running ends. A Go program
// prints where it hangs when it can.
func abort(running context.Context, process *os.Process) {
	kill := time.AfterFunc(abortTime, func() { process.Kill() })
	defer kill.Stop()
	process.Signal(syscall.SIGABRT)
	<-running.Done()
}

// Settings reads what a parent told its child, and returns a context that ends
// with the parent.
func Settings(ctx context.Context) (context.Context, *config.Config, error) {
	pipe := os.NewFile(settingsFD, "settings")
	if pipe == nil {
		return nil, nil, errors.New("this command is started by `skerry server` and `skerry agent` only")
	}
	decoder := json.NewDecoder(pipe)
	c := new(config.Config)
	if err := decoder.Decode(c); err != nil {
		return nil, nil, fmt.Errorf("this command is started by `skerry server` and `skerry agent` only: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	SaveMemory(ctx)
	go func() {
		defer cancel()
		io.Copy(io.Discard, pipe)
	}()
	return ctx, c, nil
}
