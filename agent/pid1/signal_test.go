package pid1

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNoSignalEndsTheProcessAndTheFourMakeRequests(t *testing.T) { inSubprocess(t, "signals") }

func takeSignals() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	requests := Requests(ctx)
	want := map[unix.Signal]Action{unix.SIGINT: Reboot, unix.SIGTERM: Reboot, unix.SIGUSR1: Halt, unix.SIGUSR2: PowerOff}
	for s := unix.Signal(1); s < 65; s++ {
		// 32 to 34 belong to the C library and the Go runtime.
		if s == unix.SIGKILL || s == unix.SIGSTOP || s >= 32 && s <= 34 || s == unix.SIGPROF {
			continue
		}
		if err := unix.Kill(os.Getpid(), s); err != nil {
			return fmt.Errorf("signal %d: %w", s, err)
		}
		action, isRequest := want[s]
		if !isRequest {
			continue
		}
		select {
		case q := <-requests:
			if q.Action != action || q.Immediate {
				return fmt.Errorf("%v asked for %+v", s, q)
			}
		case <-ctx.Done():
			return fmt.Errorf("%v made no request", s)
		}
	}
	if len(requests) > 0 {
		return fmt.Errorf("more requests: %+v", <-requests)
	}
	// Children start with the default dispositions.
	status, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "SigIgn:") || strings.HasPrefix(line, "SigBlk:") {
			mask, err := strconv.ParseUint(strings.TrimSpace(line[7:]), 16, 64)
			// Where this runs below make, glibc's own signals 32 and 33 are ignored.
			if err != nil || mask&^(3<<31) != 0 {
				return fmt.Errorf("children inherit %s", line)
			}
		}
	}
	return nil
}

func TestSevenCtrlAltDelsWithinTwoSecondsAreImpatience(t *testing.T) {
	begin := time.Unix(1000, 0)
	press := func(gap time.Duration, n int) (immediate int) {
		var k keyPresses
		for i := range n {
			if k.request(unix.SIGINT, begin.Add(time.Duration(i)*gap)).Immediate {
				immediate++
			}
		}
		return immediate
	}
	if n := press(100*time.Millisecond, 6); n != 0 {
		t.Errorf("six: %d", n)
	}
	if n := press(333*time.Millisecond, 7); n != 1 {
		t.Errorf("seven within 2 s: %d", n)
	}
	if n := press(334*time.Millisecond, 50); n != 0 {
		t.Errorf("seven in more than 2 s: %d", n)
	}
}

func TestImpatienceIsNotLostBehindUnreadRequests(t *testing.T) {
	out := make(chan Request, 3)
	for range 5 {
		offer(out, Request{Action: Reboot})
	}
	offer(out, Request{Action: Reboot, Immediate: true})
	found := false
	for len(out) > 0 {
		found = found || (<-out).Immediate
	}
	if !found {
		t.Error("lost")
	}
}

func TestRaisedFileLimitReachesChildren(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// Without privileges a process may not go above what it has.
	if err := RaiseOpenFiles(old.Max); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	out, err := exec.Command("cat", "/proc/self/limits").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max open files") && (f[3] != "1024" || f[4] != fmt.Sprint(old.Max)) {
			t.Errorf("child has %s", line)
		}
	}
}

func TestNamesSendWhatInitUnderstands(t *testing.T) {
	for _, c := range []struct {
		args   string
		signal unix.Signal
		reboot int
		fails  string
	}{
		{"/sbin/reboot", unix.SIGTERM, 0, ""},
		{"poweroff", unix.SIGUSR2, 0, ""},
		{"halt", unix.SIGUSR1, 0, ""},
		{"halt -p", unix.SIGUSR2, 0, ""},
		{"reboot -f", 0, unix.LINUX_REBOOT_CMD_RESTART, ""},
		{"poweroff --force", 0, unix.LINUX_REBOOT_CMD_POWER_OFF, ""},
		{"halt -f", 0, unix.LINUX_REBOOT_CMD_HALT, ""},
		{"reboot -x", 0, 0, `unknown argument "-x"`},
		{"reboot -p", 0, 0, `unknown argument "-p"`},
		{"shutdown", 0, 0, "called as reboot"},
	} {
		sys := newFake()
		var stderr strings.Builder
		code := Command(strings.Fields(c.args), &stderr, sys)
		if (code != 0) != (c.fails != "") || !strings.Contains(stderr.String(), c.fails) {
			t.Errorf("%s: %d, %q", c.args, code, stderr.String())
		}
		if got := sys.killed[1]; len(got) > 0 != (c.signal != 0) || len(got) > 0 && got[0] != c.signal {
			t.Errorf("%s sent %v", c.args, got)
		}
		if got := sys.reboots; len(got) > 0 != (c.reboot != 0) || len(got) > 0 && got[0] != c.reboot {
			t.Errorf("%s: reboot(%x)", c.args, got)
		}
		if c.reboot != 0 && sys.syncs != 1 {
			t.Errorf("%s: %d syncs", c.args, sys.syncs)
		}
	}
	sys := newFake()
	sys.killErr = unix.EPERM
	if err := command([]string{"reboot"}, sys); !errors.Is(err, unix.EPERM) {
		t.Errorf("err = %v", err)
	}
}
