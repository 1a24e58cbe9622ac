package pid1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary play another program.
const roleVariable = "PID1_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "storm":
		play(storm)
	case "slow":
		play(slowWaiter)
	case "signals":
		play(takeSignals)
	case "orphans":
		leaveOrphans(os.Args[1])
	case "exit":
		code, _ := strconv.Atoi(os.Args[1])
		os.Exit(code)
	case "sleep":
		time.Sleep(time.Minute)
	default:
		fmt.Println("unknown role", role)
		os.Exit(99)
	}
}

func play(f func() error) {
	if err := f(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	return cmd
}

// inSubprocess plays a role that needs a process of its own.
func inSubprocess(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// leaveOrphans starts n children and ends without waiting for them.
func leaveOrphans(n string) {
	count, _ := strconv.Atoi(n)
	for range count {
		// A child that ends at once, without the cost of an exec.
		if pid, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0); errno == 0 && pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 7, 0, 0)
			}
		}
	}
	os.Exit(0)
}

func subreaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	r := NewReaper(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})))
	go r.Reap(context.Background())
	return r, nil
}

func TestOrphansAndOwnChildrenByTheThousand(t *testing.T) { inSubprocess(t, "storm") }

func storm() error {
	const parents, orphans, children = 40, 100, 400
	r, err := subreaper()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failures := make(chan error, parents+children)
	limit := make(chan struct{}, 16)
	run := func(cmd *exec.Cmd, want int) {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			err := r.Run(cmd)
			got := cmd.ProcessState.ExitCode()
			if _, isExit := errors.AsType[*exec.ExitError](err); got != want || (err != nil && !isExit) {
				failures <- fmt.Errorf("exit status %d, want %d: %v", got, want, err)
			}
		})
	}
	for i := range children {
		if i < parents {
			run(role("orphans", strconv.Itoa(orphans)), 0)
		}
		// A shell starts faster than the test binary.
		run(exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(i%100)), i%100)
		if i%20 == 0 {
			if err := r.Run(exec.Command("/does/not/exist")); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("missing program: %v", err)
			}
			// Found only by the exec in the child, which is a zombie for a moment.
			if err := r.Run(exec.Command("/proc/self/environ")); !errors.Is(err, os.ErrPermission) {
				return fmt.Errorf("not executable: %v", err)
			}
		}
	}
	wg.Wait()
	select {
	case err := <-failures:
		return fmt.Errorf("%w, and %d more", err, len(failures))
	default:
	}
	deadline := time.Now().Add(30 * time.Second)
	for r.Reaped() < parents*orphans && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := r.Reaped(); n != parents*orphans {
		return fmt.Errorf("%d orphans reaped of %d", n, parents*orphans)
	}
	if z, err := zombieChildren(); err != nil || len(z) > 0 {
		return fmt.Errorf("zombies %v, %v", z, err)
	}
	if len(r.own) > 0 || r.starting != 0 {
		return fmt.Errorf("still registered: %v, starting %d", r.own, r.starting)
	}
	return nil
}

func TestUncollectedChildNeitherSpinsNorHoldsUpOrphans(t *testing.T) { inSubprocess(t, "slow") }

func slowWaiter() error {
	r, err := subreaper()
	if err != nil {
		return err
	}
	first := role("exit", "42")
	if err := r.Start(first); err != nil {
		return err
	}
	for {
		if z, _ := zombieChildren(); len(z) == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Wait for this one alone: its orphans stand behind the first zombie.
	if err := r.Run(role("orphans", "100")); err != nil {
		return err
	}
	begin := time.Now()
	for r.Reaped() < 100 {
		if time.Since(begin) > 20*time.Second {
			return fmt.Errorf("%d of 100 orphans reaped behind the slow child", r.Reaped())
		}
		time.Sleep(time.Millisecond)
	}
	before := r.peeks.Load()
	time.Sleep(300 * time.Millisecond)
	if n := r.peeks.Load() - before; n > 3 {
		return fmt.Errorf("the kernel was asked %d times while nothing happened", n)
	}
	if err := r.Wait(first); first.ProcessState.ExitCode() != 42 {
		return fmt.Errorf("slow child: %v", err)
	}
	return nil
}

func TestReapedOrphansAreNamedAtDebugLevel(t *testing.T) {
	// An unregistered child is what an orphan is.
	var out bytes.Buffer
	r := NewReaper(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	cmd := role("exit", "3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		pid, err := firstZombie()
		if err != nil {
			t.Fatal(err)
		}
		if pid == cmd.Process.Pid {
			break
		}
		time.Sleep(time.Millisecond)
	}
	r.reapFirst()
	if s := out.String(); !strings.Contains(s, "exit status 3") || !strings.Contains(s, "name=exe") {
		t.Errorf("log: %s", s)
	}
	if r.Reaped() != 1 {
		t.Errorf("reaped %d", r.Reaped())
	}
}

func TestStatIsParsedWhateverTheName(t *testing.T) {
	for _, c := range []struct {
		stat string
		want Process
		ok   bool
	}{
		{"2 (kthreadd) S 0 0 0 0 -1 2129984 0", Process{2, 0, "kthreadd", false, true}, true},
		{"71 (a) b) Z 1 (c)) Z 9 1 1 0 -1 4194304 1", Process{71, 9, "a) b) Z 1 (c)", true, false}, true},
		{"5 () R 1 1 1 0 -1 0 1", Process{5, 1, "", false, false}, true},
		{"", Process{}, false},
		{"5 (x", Process{}, false},
		{"5 (x) R 1", Process{}, false},
		{")(", Process{}, false},
		{"x (x) R 1 1 1 0 -1 0 1", Process{}, false},
	} {
		if got, ok := parseStat([]byte(c.stat)); got != c.want || ok != c.ok {
			t.Errorf("%q: %+v, %v", c.stat, got, ok)
		}
	}
	table, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range table {
		found = found || p.PID == os.Getpid() && p.Parent == os.Getppid() && !p.Kernel && !p.Zombie
	}
	if !found {
		t.Error("this process is not in the table")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("71 (a) b) Z 9 1 1 0 -1 4194304 1"))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b) })
}
