package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// usage is what one run of a command cost.
type usage struct {
	wall time.Duration
	cpu  time.Duration // user and system, of the process and all it waited for
	// peak is the most memory, in bytes, that the process or any one it waited
	// for ever had; see ru_maxrss in getrusage(2). The kernel counts the memory
	// that a process had before it became another program, so figures below
	// that of this program itself are not seen: it stays small.
	peak float64

	stdout, stderr string
}

// command runs a program in a folder, with the environment's variables and env,
// and measures it. Its error holds the end of what the program said.
func (s *session) command(ctx context.Context, dir string, env []string, name string, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	// A program that runs others of its own is given time to end them.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	started := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(started), stdout: stdout.String(), stderr: stderr.String()}
	if ctx.Err() != nil {
		return u, ctx.Err()
	}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, lastLines(u.stderr, 8))
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = float64(r.Maxrss) * 1024 // Linux counts in KiB
	}
	return u, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// columns are the cells that describe several runs of a command.
func columns(runs []usage) []string {
	return []string{
		seconds(pick(runs, usage.seconds)),
		fmt.Sprintf("%.2f s", median(pick(runs, usage.cpuSeconds))),
		mib(median(pick(runs, usage.peakBytes))),
	}
}

func (u usage) seconds() float64    { return u.wall.Seconds() }
func (u usage) cpuSeconds() float64 { return u.cpu.Seconds() }
func (u usage) peakBytes() float64  { return u.peak }
