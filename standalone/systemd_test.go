package standalone

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// busy stands for a systemd that does not answer.
var busy = state{Active: "no answer"}

// wait waits for a service that goes through the states one by one.
func wait(t *testing.T, before state, states ...state) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var out bytes.Buffer
	err := waitUntilReady(ctx, &writer{out: &out}, before, time.Millisecond, func(context.Context) (state, error) {
		if len(states) == 0 {
			cancel(errors.New("it is not ready yet"))
			return state{}, ctx.Err()
		}
		now := states[0]
		states = states[1:]
		if now == busy {
			return state{}, errors.New("connection timed out")
		}
		return now, nil
	}, func() string { return "last words" })
	return out.String(), err
}

func TestAServiceIsReadyWhenItsNewRunIs(t *testing.T) {
	former := state{Active: "active", Invocation: "1", Status: "cluster server Ready"}
	out, err := wait(t, former, former, busy,
		state{Active: "deactivating", Invocation: "1"},
		state{Active: "activating", Invocation: "2", Status: "joining the cluster"},
		state{Active: "activating", Invocation: "2", Status: "joining the cluster", Restarts: 1},
		state{Active: "active", Invocation: "2", Status: "cluster server Ready"})
	if err != nil || out != "  joining the cluster\ncluster server Ready\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAServiceThatEndsAgainAndAgainIsShown(t *testing.T) {
	for _, last := range []state{{Active: "failed", Result: "exit-code"}, {Active: "activating", Result: "exit-code", Restarts: failures}} {
		_, err := wait(t, state{}, state{Active: "activating"}, last)
		if err == nil || !strings.Contains(err.Error(), "exit-code") || !strings.Contains(err.Error(), "last words") {
			t.Errorf("%+v: %v", last, err)
		}
	}
}

func TestWhoWaitsTooLongIsToldWhereToLook(t *testing.T) {
	_, err := wait(t, state{}, state{Active: "activating", Invocation: "1"})
	if err == nil || !strings.Contains(err.Error(), "not ready yet: the service goes on starting") {
		t.Error(err)
	}
}

func TestStatesAreReadAsSystemctlShowsThem(t *testing.T) {
	got := parseState("Result=success\nActiveState=activating\nStatusText=a=b\nInvocationID=0123\nNRestarts=2\nMainPID=17\n")
	if got != (state{Active: "activating", Result: "success", Status: "a=b", Invocation: "0123", Restarts: 2, PID: 17}) {
		t.Errorf("%+v", got)
	}
}

func TestAProgramThatWasReplacedDoesNotRunAnyMore(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, sleep, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if !runs(cmd.Process.Pid, program) || runs(cmd.Process.Pid, "/bin/sleep") || runs(0, program) {
		t.Error("another program is told")
	}
	if err := errors.Join(os.WriteFile(program+".new", sleep, 0o755), os.Rename(program+".new", program)); err != nil {
		t.Fatal(err)
	}
	if runs(cmd.Process.Pid, program) {
		t.Error("it is taken for the new one")
	}
}

// systemd's own reader finds nothing wrong with the unit.
func TestSystemdAcceptsTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing: run `make deps`")
	}
	dir := t.TempDir()
	// The program is not here.
	text := strings.Replace(unit, "ExecStart="+program, "ExecStart=/bin/true", 1)
	name := filepath.Join(dir, Service)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--recursive-errors=no", name).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		// Older than 254, systemd does not know the back-off, which is all that may
		// be wrong.
		if !strings.Contains(line, "RestartSteps") && !strings.Contains(line, "RestartMaxDelaySec") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
}

func TestMountsBelowAFolderComeLastFirst(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
30 22 0:25 / /run rw shared:2 - tmpfs tmpfs rw
31 30 0:26 / /run/skerry/containerd/rootfs rw - overlay overlay rw
32 31 0:27 / /run/skerry/containerd/rootfs/a\040b rw - tmpfs tmpfs rw
33 30 0:28 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw
34 30 0:28 net:[2] /run/netns/mine rw - nsfs nsfs rw
35 22 0:29 / /var/lib/skerry rw - ext4 /dev/vdb rw
36 30 0:30 / /run/skerryish rw - tmpfs tmpfs rw
`
	got := parseMounts(mountinfo, []string{"/run/skerry", "/var/lib/skerry", "/run/netns/cni-"})
	want := []string{"/run/netns/cni-1", "/run/skerry/containerd/rootfs/a b", "/run/skerry/containerd/rootfs"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q", got)
	}
}
