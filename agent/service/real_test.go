package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/logring"
)

// roleVariable makes the test binary play a service.
const roleVariable = "SERVICE_TEST_ROLE"

func TestMain(m *testing.M) {
	term := make(chan os.Signal, 1)
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "good": // notifies, beats, ends at SIGTERM
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("hello from", os.Getpid())
		say(daemon.SdNotifyReady + "\nSTATUS=at work")
		<-term
		say(daemon.SdNotifyStopping)
	case "fail":
		for i := range 30 {
			fmt.Println("line", i)
		}
		fmt.Fprintln(os.Stderr, "fatal: \x1b[1mno luck")
		os.Exit(3)
	case "family": // leaves a deaf grandchild that holds its output
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), roleVariable+"=deaf")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("grandchild", child.Process.Pid)
		say(daemon.SdNotifyReady)
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "show":
		show()
		say(daemon.SdNotifyReady)
		time.Sleep(time.Hour)
	case "hang": // ready, then silent
		say(daemon.SdNotifyReady)
		time.Sleep(time.Hour)
	case "stranger": // sends for another service
		conn, err := net.Dial("unixgram", os.Args[1])
		if err != nil {
			os.Exit(1)
		}
		conn.Write([]byte("READY=1"))
	}
	os.Exit(0)
}

func say(s string) {
	if sent, err := daemon.SdNotify(false, s); err != nil || !sent {
		fmt.Println("notify:", sent, err)
		os.Exit(9)
	}
}

// show prints what a service finds around itself.
func show() {
	sid, _ := unix.Getsid(0)
	input, _ := os.Readlink("/proc/self/fd/0")
	wd, _ := os.Getwd()
	fmt.Println("leader:", sid == os.Getpid(), "pgrp:", unix.Getpgrp() == os.Getpid())
	fmt.Println("stdin:", input, "dir:", wd)
	var names []string
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		names = append(names, key)
	}
	slices.Sort(names)
	fmt.Println("env:", names, "usec:", os.Getenv("WATCHDOG_USEC"), "path:", os.Getenv("PATH"))
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if name, mask, _ := strings.Cut(line, ":"); name == "SigIgn" || name == "SigBlk" {
			set, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			// Where this runs below make, glibc's own signals 32 and 33 are ignored.
			fmt.Println(name, set&^(3<<31), err)
		}
	}
}

type node struct {
	*Supervisor
	ring *logring.Ring
	dir  string
}

func realNode(t *testing.T, o Options, specs ...Spec) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "svc") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o.Log, o.Ring, o.NotifyDir = slog.New(slog.NewTextHandler(io.Discard, nil)), logring.New(0), filepath.Join(dir, "notify")
	s, err := New(specs, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := &node{s, o.Ring, dir}
	t.Cleanup(func() { n.end(t) })
	return n
}

func (n *node) end(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func (n *node) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.WaitReady(ctx); err != nil {
		t.Fatalf("%v\n%v", err, n.ring.Snapshot())
	}
}

// until waits for a service's status to be as wanted.
func (n *node) until(t *testing.T, name string, ok func(Status) bool) Status {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		n.mu.Lock()
		st, changed := n.byName[name].status, n.changed
		n.mu.Unlock()
		if ok(st) {
			return st
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s stays %+v", name, st)
		}
	}
}

// output waits for n lines: they come by another way than READY=1.
func (n *node) output(t *testing.T, name string, lines int) []string {
	t.Helper()
	follow := n.ring.Subscribe(t.Context())
	limit := time.After(time.Minute)
	for {
		if tail := n.ring.Tail(name, lines); len(tail) == lines {
			var texts []string
			for _, e := range tail {
				texts = append(texts, e.Text)
			}
			return texts
		}
		select {
		case <-follow.Entries():
		case <-limit:
			t.Fatalf("%s printed %v", name, n.ring.Tail(name, lines))
		}
	}
}

func is(s State) func(Status) bool { return func(st Status) bool { return st.State == s } }

func role(name, role string) Spec {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Spec{Name: name, Command: []string{exe}, Environment: map[string]string{roleVariable: role}, StopTimeout: 10 * time.Second}
}

func TestServiceIsSupervisedOverItsSocket(t *testing.T) {
	spec := role("web", "good")
	spec.Notify = true
	n := realNode(t, Options{}, spec)
	n.ready(t)
	st := n.States()[0]
	if st.Text != "at work" || st.PID <= 0 {
		t.Errorf("%+v", st)
	}
	if info, err := os.Stat(filepath.Join(n.dir, "notify", "web")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	n.end(t)
	if got := n.ring.Tail("web", 5); len(got) != 1 || got[0].Text != fmt.Sprintf("hello from %d", st.PID) {
		t.Errorf("output %v", got)
	}
	if err := unix.Kill(st.PID, 0); err != unix.ESRCH {
		t.Errorf("process %d: %v", st.PID, err)
	}
	if st := n.States()[0]; st.State != Stopped || st.LastError != "" || st.PID != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSenderOutsideTheServiceIsIgnored(t *testing.T) {
	spec := role("web", "deaf")
	spec.Notify, spec.StopTimeout = true, 100*time.Millisecond
	n := realNode(t, Options{}, spec)
	n.until(t, "web", is(Starting))
	cmd := exec.Command("/proc/self/exe", n.socketPath("web"))
	cmd.Env = append(os.Environ(), roleVariable+"=stranger")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if st := n.States()[0]; st.State != Starting {
		t.Errorf("%+v", st)
	}
}

func TestFailureShowsStatusAndLastLines(t *testing.T) {
	spec := role("web", "fail")
	spec.Restart = Never
	n := realNode(t, Options{}, spec)
	st := n.until(t, "web", is(Failed))
	if st.LastError != "exit status 3" || len(st.LastOutput) != outputLines || st.LastOutput[0] != "line 11" || st.LastOutput[19] != `fatal: \x1b[1mno luck` {
		t.Errorf("%q, %q", st.LastError, st.LastOutput)
	}
	if got := n.ring.Tail("web", 100); len(got) != 31 {
		t.Errorf("%d lines in the log", len(got))
	}
}

func TestNoProcessOutlivesItsRun(t *testing.T) {
	spec := role("web", "family")
	spec.Notify = true
	n := realNode(t, Options{}, spec)
	n.ready(t)
	var pid int
	if got := n.output(t, "web", 1); got != nil {
		fmt.Sscanf(got[0], "grandchild %d", &pid)
	}
	if pid == 0 {
		t.Fatalf("output %v", n.ring.Snapshot())
	}
	n.end(t)
	// It is somebody's zombie now; what matters is that it does not run.
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("grandchild %d still runs", pid)
}

func TestServiceStartsInACleanSurrounding(t *testing.T) {
	spec := role("web", "show")
	spec.Notify, spec.WatchdogInterval, spec.OOMScoreAdjust = true, time.Minute, 321
	n := realNode(t, Options{}, spec)
	n.ready(t)
	got := n.output(t, "web", 5)
	want := []string{
		"leader: true pgrp: true",
		"stdin: /dev/null dir: /",
		"env: [NOTIFY_SOCKET PATH " + roleVariable + " WATCHDOG_USEC] usec: 60000000 path: /usr/sbin:/usr/bin",
		"SigBlk 0 <nil>", "SigIgn 0 <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", n.States()[0].PID))
	if err != nil || string(score) != "321\n" {
		t.Errorf("oom_score_adj %q, %v", score, err)
	}
}

func TestSilentServiceIsAbortedAndStartedAgain(t *testing.T) {
	spec := role("web", "hang")
	spec.Notify, spec.WatchdogInterval = true, 200*time.Millisecond
	n := realNode(t, Options{}, spec)
	st := n.until(t, "web", is(BackingOff))
	if !strings.Contains(st.LastError, "no sign of life") || !strings.Contains(strings.Join(st.LastOutput, "\n")+fmt.Sprint(n.ring.Tail("web", 200)), "SIGABRT") {
		t.Errorf("%q, %q", st.LastError, st.LastOutput)
	}
	n.until(t, "web", func(st Status) bool { return st.Restarts == 1 && st.State == Ready })
}

func TestProgramsThatCannotStartSayWhy(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"noexec": "garbage without a format", "nointerp": "#!/does/not/exist\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644)
	for name, want := range map[string]string{
		"missing": "there is no program", "noexec": "not a program for this machine",
		"nointerp": "the interpreter or loader", "plain": "is not executable",
	} {
		n := realNode(t, Options{}, Spec{Name: "web", Command: []string{filepath.Join(dir, name)}})
		st := n.until(t, "web", is(BackingOff))
		if !strings.Contains(st.LastError, want) || !strings.Contains(st.LastError, filepath.Join(dir, name)) {
			t.Errorf("%s: %q", name, st.LastError)
		}
		n.end(t)
	}
}

func TestFiftyServicesStartAndStop(t *testing.T) {
	var specs []Spec
	for i := range 50 {
		s := role(fmt.Sprintf("s%02d", i), "good")
		s.Notify = true
		if i >= 5 {
			s.Requires = []string{fmt.Sprintf("s%02d", i-5)}
		}
		if i%10 == 9 {
			s = Spec{Name: s.Name, Command: []string{"/bin/sh", "-c", "exit " + strconv.Itoa(i%3)}, Restart: Never}
		}
		specs = append(specs, s)
	}
	// What requires one that fails would fail as well.
	for i := range specs {
		specs[i].Requires = slices.DeleteFunc(specs[i].Requires, func(name string) bool { return name[2] == '9' })
	}
	before := openFiles(t)
	for range 2 {
		var mu sync.Mutex
		readyAt := map[string]int{}
		n := realNode(t, Options{OnChange: func(st Status) {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := readyAt[st.Name]; !ok && st.State == Ready {
				readyAt[st.Name] = len(readyAt)
			}
		}}, specs...)
		for _, s := range specs {
			want := Ready
			if !s.Notify {
				n.until(t, s.Name, Status.finished)
				continue
			}
			n.until(t, s.Name, is(want))
		}
		mu.Lock()
		for _, s := range specs {
			for _, d := range s.Requires {
				if readyAt[d] > readyAt[s.Name] {
					t.Errorf("%s was ready before %s", s.Name, d)
				}
			}
		}
		mu.Unlock()
		n.end(t)
		for _, st := range n.States() {
			if !st.finished() || st.PID != 0 {
				t.Errorf("%+v", st)
			}
		}
	}
	if after := openFiles(t); after > before+5 {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
