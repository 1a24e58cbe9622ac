package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The program of this test is pause too.
func TestMain(m *testing.M) {
	if os.Getenv("SKERRY_TEST_PAUSE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start starts pause out of a shell, whose children become its own.
func start(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script+` exec "$0"`, program)
	cmd.Env = append(os.Environ(), "SKERRY_TEST_PAUSE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

// reaped tells whether pause runs and has no children any more.
func reaped(cmd *exec.Cmd) bool {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
	own, _ := os.Executable()
	left, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	return err == nil && name == own && len(left) == 0
}

func TestItEndsWhenItIsToldTo(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		// Once it reaped something, it listens to signals.
		cmd := start(t, "sleep 0.2 &")
		waitFor(t, "pause", func() bool { return reaped(cmd) })
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestItReapsWhatEndedBeforeAndAfterItStarted(t *testing.T) {
	cmd := start(t, "true & sleep 1 & sleep 1 &")
	waitFor(t, "the end of all children", func() bool { return reaped(cmd) })
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("pause itself ended: %v", err)
	}
}
