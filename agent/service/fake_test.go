package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/logring"
)

// program is a run in memory. It ends at SIGTERM unless deaf.
type program struct {
	pid    int
	exited chan struct{}
	once   sync.Once
	result error
	deaf   bool // SIGTERM and SIGABRT do not end it
	undead bool // SIGKILL does not either

	mu      sync.Mutex
	signals []string
}

func (p *program) PID() int                      { return p.pid }
func (p *program) Exited() <-chan struct{}       { return p.exited }
func (p *program) Result() error                 { return p.result }
func (p *program) Owns(pid int) bool             { return pid == p.pid }
func (p *program) Release(context.Context) error { return nil }
func (p *program) Output() []string              { return []string{"last words"} }

func (p *program) end(err error) {
	p.once.Do(func() {
		p.result = err
		close(p.exited)
	})
}

func (p *program) got(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, s)
}

func (p *program) Signal(s unix.Signal) error {
	p.got(unix.SignalName(s))
	if !p.deaf {
		p.end(fmt.Errorf("killed by %s", unix.SignalName(s)))
	}
	return nil
}

func (p *program) Kill() error {
	p.got("SIGKILL")
	if !p.undead {
		p.end(errors.New("killed by SIGKILL"))
	}
	return nil
}

// bench is a supervisor whose programs are in memory.
type bench struct {
	*Supervisor
	t *testing.T

	mu     sync.Mutex
	starts []string // names in order of starting
	when   map[string][]time.Time
	runs   map[string]*program
	seen   []string // "name: state" in order
	setup  func(*program, string)
	begin  time.Time
}

func newBench(t *testing.T, specs ...Spec) *bench {
	t.Helper()
	b := &bench{t: t, when: map[string][]time.Time{}, runs: map[string]*program{}, begin: time.Now(), setup: func(*program, string) {}}
	for i := range specs {
		specs[i].Command = []string{"/bin/" + specs[i].Name}
	}
	s, err := New(specs, Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Ring: logring.New(0), OnChange: func(st Status) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, st.Name+": "+st.State.String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.Supervisor = s
	s.lastWords = 0 // time passes where tests say so
	s.start = func(spec Spec) (run, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.starts = append(b.starts, spec.Name)
		b.when[spec.Name] = append(b.when[spec.Name], time.Now())
		p := &program{pid: 100 + len(b.starts), exited: make(chan struct{})}
		b.setup(p, spec.Name)
		b.runs[spec.Name] = p
		return p, nil
	}
	return b
}

// begins starts everything but the sockets: the bubble has none.
func (b *bench) begins() {
	for _, r := range b.runners {
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(b.t.Context())
		r.started = true
		go r.supervise(ctx)
	}
	synctest.Wait()
}

func (b *bench) run(name string) *program {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs[name]
}

// says delivers a notification from the main process.
func (b *bench) says(name, text string) {
	b.byName[name].messages <- message{b.run(name).pid, parseNotification([]byte(text))}
	synctest.Wait()
}

func (b *bench) state(name string) Status {
	for _, st := range b.States() {
		if st.Name == name {
			return st
		}
	}
	return Status{}
}

func (b *bench) expect(name string, want State) Status {
	b.t.Helper()
	synctest.Wait()
	st := b.state(name)
	if st.State != want {
		b.t.Errorf("after %v: %s is %s, want %s (%s)", time.Since(b.begin), name, st.State, want, st.LastError)
	}
	return st
}

func (b *bench) stops() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Hour)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		b.t.Error(err)
	}
}

func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestDependentsWaitUntilReadyAndStopFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t,
			Spec{Name: "app", Requires: []string{"db"}, After: []string{"net"}, Notify: true},
			Spec{Name: "db", After: []string{"net"}, Notify: true}, Spec{Name: "net"}, Spec{Name: "free"})
		b.begins()
		if got := b.expect("app", Waiting); got.Text != "for db" {
			t.Errorf("waits %q", got.Text)
		}
		b.expect("db", Starting)
		b.says("db", "READY=1")
		b.says("app", "READY=1\nSTATUS=fine")
		if st := b.expect("app", Ready); st.Text != "fine" || st.PID == 0 {
			t.Errorf("%+v", st)
		}
		if err := b.WaitReady(t.Context()); err != nil {
			t.Error(err)
		}
		b.stops()
		b.mu.Lock()
		all := strings.Join(b.seen, ", ")
		b.mu.Unlock()
		app, db, net := strings.Index(all, "app: stopped"), strings.Index(all, "db: stopping"), strings.LastIndex(all, "net: stopping")
		if app < 0 || app > db || db > net {
			t.Errorf("order of stopping: %s", all)
		}
		if err := b.WaitReady(t.Context()); err == nil {
			t.Error("stopped services count as ready")
		}
	})
}

func TestRequiredServiceThatFailsForGoodFailsItsDependents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "db", Restart: Never, Notify: true}, Spec{Name: "app", Requires: []string{"db"}},
			Spec{Name: "later", After: []string{"db"}}, Spec{Name: "job", Restart: OnFailure}, Spec{Name: "behind", Requires: []string{"job"}})
		b.begins()
		b.run("job").end(nil)
		b.expect("job", Stopped)
		b.expect("behind", Ready)
		b.run("db").end(errors.New("exit status 3"))
		st := b.expect("db", Failed)
		if st.LastError != "exit status 3" || len(st.LastOutput) != 1 {
			t.Errorf("%+v", st)
		}
		if st := b.expect("app", Failed); !strings.Contains(st.LastError, "requires db, which is failed") {
			t.Errorf("%q", st.LastError)
		}
		b.expect("later", Ready)
		if err := b.WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "db failed: exit status 3") {
			t.Errorf("err = %v", err)
		}
		b.stops()
	})
}

func TestDependentKeepsRunningWhenWhatItRequiresDies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "db"}, Spec{Name: "app", Requires: []string{"db"}})
		b.begins()
		b.expect("app", Ready)
		b.run("db").end(errors.New("exit status 1"))
		b.expect("db", BackingOff)
		b.expect("app", Ready)
		b.stops()
	})
}

func TestPausesDoubleToAMinuteAndStartAnewAfterASteadyRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web"})
		b.begins()
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			b.run("web").end(errors.New("exit status 1"))
			st := b.expect("web", BackingOff)
			if got := time.Until(st.RestartAt); got != want*time.Second {
				t.Errorf("pause %d: %v, want %v s", i, got, int(want))
			}
			time.Sleep(want * time.Second)
			if st := b.expect("web", Ready); st.Restarts != i+1 || st.LastError != "" {
				t.Errorf("%+v", st)
			}
		}
		time.Sleep(steady)
		b.run("web").end(errors.New("exit status 1"))
		synctest.Wait()
		if got := time.Until(b.state("web").RestartAt); got != time.Second {
			t.Errorf("pause after a steady run: %v", got)
		}
		b.stops()
		b.expect("web", Stopped)
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		policy Restart
		result error
		want   State
	}{
		{"", nil, BackingOff}, {Always, errors.New("x"), BackingOff}, {OnFailure, nil, Stopped},
		{OnFailure, errors.New("x"), BackingOff}, {Never, nil, Stopped}, {Never, errors.New("x"), Failed},
	} {
		bubble(t, func(t *testing.T) {
			b := newBench(t, Spec{Name: "web", Restart: c.policy})
			b.begins()
			b.run("web").end(c.result)
			b.expect("web", c.want)
			b.stops()
		})
	}
}

func TestServiceThatIsNotReadyInTimeIsStopped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true, StartTimeout: 10 * time.Second, StopTimeout: 5 * time.Second})
		b.setup = func(p *program, _ string) { p.deaf = true }
		b.begins()
		time.Sleep(9 * time.Second)
		b.says("web", "EXTEND_TIMEOUT_USEC=6000000")
		time.Sleep(5 * time.Second)
		b.says("web", "EXTEND_TIMEOUT_USEC=999999999999999") // bounded by four times the timeout
		time.Sleep(25*time.Second + 900*time.Millisecond)
		b.expect("web", Starting)
		time.Sleep(200 * time.Millisecond)
		b.expect("web", Stopping)
		time.Sleep(5 * time.Second)
		st := b.expect("web", BackingOff)
		if st.LastError != "not ready after 40s" {
			t.Errorf("%q", st.LastError)
		}
		if got := fmt.Sprint(b.run("web").signals); got != "[SIGTERM SIGKILL]" {
			t.Errorf("signals %s", got)
		}
		b.stops()
	})
}

func TestMissedWatchdogAbortsThenKills(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true, WatchdogInterval: 10 * time.Second})
		b.setup = func(p *program, _ string) { p.deaf = true }
		b.begins()
		time.Sleep(30 * time.Second) // no watchdog before it is ready
		b.says("web", "READY=1")
		for range 5 {
			time.Sleep(9 * time.Second)
			b.says("web", "WATCHDOG=1")
		}
		b.expect("web", Ready)
		time.Sleep(11 * time.Second)
		b.expect("web", Stopping)
		if got := fmt.Sprint(b.run("web").signals); got != "[SIGABRT]" {
			t.Errorf("signals %s", got)
		}
		b.says("web", "WATCHDOG=1\nREADY=1") // too late
		time.Sleep(abortTime - 500*time.Millisecond)
		if st := b.expect("web", BackingOff); !strings.Contains(st.LastError, "no sign of life for 10s") {
			t.Errorf("%q", st.LastError)
		}
		if got := fmt.Sprint(b.run("web").signals); got != "[SIGABRT SIGKILL]" {
			t.Errorf("signals %s", got)
		}
		time.Sleep(time.Second)
		b.says("web", "READY=1")
		b.says("web", "WATCHDOG=trigger")
		if st := b.expect("web", Stopping); fmt.Sprint(b.run("web").signals) != "[SIGABRT]" {
			t.Errorf("%+v", st)
		}
		b.stops()
	})
}

func TestNotificationsOfStrangersHaveNoEffect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true})
		b.begins()
		b.byName["web"].messages <- message{9999, notification{ready: true}}
		b.expect("web", Starting)
		b.stops()
	})
}

func TestReloadMustEndInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true, StartTimeout: 10 * time.Second})
		b.begins()
		b.says("web", "READY=1")
		b.says("web", "RELOADING=1\nMONOTONIC_USEC=5")
		b.expect("web", Ready)
		time.Sleep(9 * time.Second)
		b.says("web", "READY=1")
		time.Sleep(time.Minute)
		b.expect("web", Ready)
		b.says("web", "RELOADING=1\nMONOTONIC_USEC=6")
		time.Sleep(10500 * time.Millisecond)
		if st := b.expect("web", BackingOff); !strings.Contains(st.LastError, "not ready") {
			t.Errorf("%+v", st)
		}
		b.stops()
	})
}

func TestErrnoExplainsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true})
		b.begins()
		b.byName["web"].messages <- message{b.run("web").pid, notification{errno: 5}}
		b.run("web").end(errors.New("exit status 1"))
		if st := b.expect("web", BackingOff); st.LastError != "exit status 1 (ERRNO 5: input/output error)" {
			t.Errorf("%q", st.LastError)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		b.run("web").end(nil)
		if st := b.expect("web", BackingOff); !strings.Contains(st.LastError, "before it was ready") {
			t.Errorf("%q", st.LastError)
		}
		b.stops()
	})
}

func TestStopIsBoundedByItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "deaf", StopTimeout: time.Hour}, Spec{Name: "undead", After: []string{"deaf"}})
		b.setup = func(p *program, name string) { p.deaf, p.undead = true, name == "undead" }
		b.begins()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		err := b.Stop(ctx)
		if err == nil || !strings.Contains(err.Error(), "after SIGKILL: undead (") || strings.Contains(err.Error(), "deaf (1") && !strings.Contains(err.Error(), "undead (1") {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(begin); took != 10*time.Second+killedWithin {
			t.Errorf("took %v", took)
		}
		b.expect("deaf", Stopped)
		time.Sleep(killTime)
		if st := b.expect("undead", Failed); !strings.Contains(st.LastError, "does not die") {
			t.Errorf("%+v", st)
		}
	})
}

func TestNoSecondCopyStartsWhileTheFirstDoesNotDie(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true, StartTimeout: time.Second, StopTimeout: time.Second})
		b.setup = func(p *program, _ string) { p.deaf, p.undead = true, true }
		b.begins()
		time.Sleep(10 * time.Minute)
		b.expect("web", Stopping)
		if len(b.starts) != 1 {
			t.Errorf("started %d times", len(b.starts))
		}
		b.run("web").end(nil)
		b.expect("web", BackingOff)
		b.stops()
	})
}

func TestWaitReadyNamesWhatIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "web", Notify: true}, Spec{Name: "app", After: []string{"web"}})
		b.begins()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.WaitReady(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "web is starting, app is waiting") {
			t.Errorf("err = %v", err)
		}
		b.stops()
	})
}

func TestAFailureComesWithWhatTheServiceSaidLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t, Spec{Name: "db", Restart: OnFailure, Notify: true})
		b.begins()
		b.lastWords = time.Second
		b.says("db", "STATUS=starting")
		// The exit is seen first: what was said is on its way.
		db := b.run("db")
		db.end(errors.New("exit status 1"))
		synctest.Wait()
		b.byName["db"].messages <- message{db.pid, parseNotification([]byte("STATUS=port 6443 is taken\nSTOPPING=1"))}
		time.Sleep(b.lastWords)
		st := b.expect("db", BackingOff)
		if want := "exit status 1, after it said: port 6443 is taken"; st.LastError != want || st.Text != "" {
			t.Errorf("got %q and %q, want %q", st.LastError, st.Text, want)
		}
	})
}
