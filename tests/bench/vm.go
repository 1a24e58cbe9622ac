package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/subprocess"
	"github.com/skerry-os/skerry/tests/machine"
)

// bootTimes is what one boot took.
type bootTimes struct {
	kernel, agent, network time.Duration // as the node shows them
	memory                 float64       // bytes that the agent had when the node was up
	up                     time.Duration // from the start of QEMU to the node being up
}

const (
	// bootDeadline is for a machine that hangs, not for a slow one.
	bootDeadline = 15 * time.Minute
	// offDeadline is for one that does not end.
	offDeadline = 15 * time.Minute
	// pressAgain is how long the power button may go unnoticed.
	pressAgain = 15 * time.Second
)

// boot runs a machine until its node is up, and then switches it off.
func boot(ctx context.Context, options qemu.Machine) (times bootTimes, err error) {
	started := time.Now()
	err = runMachine(ctx, options, func(console *machine.Console) error {
		if _, err := console.Expect(`^skerry: node up: `, bootDeadline); err != nil {
			return err
		}
		up := time.Since(started)
		var err error
		times, err = parseBoot(console.Lines())
		times.up = up
		return err
	})
	return times, err
}

// newMachine is one with a release on a new disk, and memory in MiB, as many as
// `builder run` gives if 0. Config are lines of its node config; if there are
// none it has no config. What the machine needs is there until remove is called.
func (s *session) newMachine(ctx context.Context, b built, memory int, config string) (m qemu.Machine, remove func(), err error) {
	dir, err := os.MkdirTemp(s.work, "machine-")
	if err != nil {
		return m, nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	disk, name := filepath.Join(dir, "disk"), ""
	if config != "" {
		name = filepath.Join(dir, "config.yaml")
		err = os.WriteFile(name, []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"+config), 0o600)
	}
	if err == nil {
		err = builder.PrepareDisk(ctx, b.file("img"), disk, diskBytes, name)
	}
	if err != nil {
		remove()
		return m, nil, err
	}
	return qemu.Machine{
		GOARCH: b.manifest.Architecture, Disk: disk, Variables: filepath.Join(dir, "variables"), Memory: memory,
		Monitor: filepath.Join(dir, "monitor"), Serial: "stdio",
	}, remove, nil
}

// diskBytes is the size of a machine's disk, as `builder run` makes it.
const diskBytes = 8 << 30

// runMachine starts a machine, calls watch, and then switches the machine off
// with its power button.
func runMachine(ctx context.Context, options qemu.Machine, watch func(*machine.Console) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args, err := options.Command()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// QEMU's console ends when nobody can write to it any more.
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	serial, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	console := machine.NewConsole()
	if err := subprocess.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w: run `make deps`", args[0], err)
	}
	read := make(chan struct{})
	go func() { console.Follow(serial); close(read) }()
	if err = watch(console); err == nil {
		err = powerOff(ctx, options.Monitor, console, read)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel()
	}
	<-read
	if ended := cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("%s: %w: %s", args[0], ended, strings.TrimSpace(stderr.String()))
	}
	return err
}

// powerOff presses the power button, again if the node takes no notice, until
// the console has ended.
func powerOff(ctx context.Context, monitor string, console *machine.Console, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, offDeadline, errors.New("the machine does not switch itself off"))
	defer cancel()
	for {
		m, err := qemu.DialMonitor(ctx, monitor)
		if err == nil {
			err = errors.Join(m.Execute(ctx, "system_powerdown", nil), m.Close())
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if _, err := console.Poll(`^skerry: power off: power button$`, pressAgain); err == nil {
			break
		}
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var (
	timesLine  = regexp.MustCompile(`^boot: kernel ([0-9.]+) s, agent ([0-9.]+) s, network ([0-9.]+) s, services [0-9.]+ s$`)
	memoryLine = regexp.MustCompile(`^  agent +memory ([0-9.]+) (B|KiB|MiB|GiB)$`)
)

// parseBoot finds the node's own figures in what its console showed.
func parseBoot(lines []string) (bootTimes, error) {
	var b bootTimes
	timed, weighed := false, false
	for _, line := range lines {
		if groups := timesLine.FindStringSubmatch(line); groups != nil {
			timed = true
			for i, part := range []*time.Duration{&b.kernel, &b.agent, &b.network} {
				seconds, err := strconv.ParseFloat(groups[i+1], 64)
				if err != nil {
					return b, fmt.Errorf("read %q: %w", line, err)
				}
				*part = time.Duration(seconds * float64(time.Second))
			}
		}
		if groups := memoryLine.FindStringSubmatch(line); groups != nil {
			weighed = true
			number, err := strconv.ParseFloat(groups[1], 64)
			if err != nil {
				return b, fmt.Errorf("read %q: %w", line, err)
			}
			b.memory = number * map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[groups[2]]
		}
	}
	if !timed || !weighed {
		return b, errors.New("the node came up and did not show its times and memory on the console")
	}
	return b, nil
}
