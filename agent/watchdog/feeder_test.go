package watchdog

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/status"
)

// fakeDevice resets (records the time) when it was not fed for its timeout.
type fakeDevice struct {
	mu          sync.Mutex
	longest     time.Duration // SetTimeout gives at most this; 0 is no limit
	timeout     time.Duration
	pretimeouts []time.Duration
	feeds       int
	boot        BootStatus
	timer       *time.Timer
	resetAt     time.Time
}

func (d *fakeDevice) Identity() string { return "fake_wdt" }
func (d *fakeDevice) SetTimeout(t time.Duration) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.longest > 0 {
		t = min(t, d.longest)
	}
	d.timeout = t
	return t, nil
}
func (d *fakeDevice) SetPretimeout(t time.Duration) error {
	d.pretimeouts = append(d.pretimeouts, t)
	return nil
}
func (d *fakeDevice) KeepAlive() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.feeds++
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = time.AfterFunc(d.timeout, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.resetAt = time.Now()
	})
	return nil
}
func (d *fakeDevice) BootStatus() (BootStatus, error) { return d.boot, nil }

func (d *fakeDevice) reset() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.resetAt, !d.resetAt.IsZero()
}

// turn calls Alive every second until stop is closed.
func turn(f *Feeder, name string, stop <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			f.Alive(name)
		}
	}
}

func start(t *testing.T, d *fakeDevice) (*Feeder, *status.Recorder) {
	t.Helper()
	problems := status.NewRecorder(nil)
	f, err := NewFeeder(d, Timeout, slog.New(slog.DiscardHandler), problems)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go f.Run(ctx)
	return f, problems
}

// settle ends the fake device's timer, so that a bubble has nothing left.
func settle(d *fakeDevice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer.Stop()
}

func TestFedWhileLoopsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{}
		f, problems := start(t, d)
		stop := make(chan struct{})
		f.Register("main", 5*time.Second)
		f.Register("services", 5*time.Second)
		go turn(f, "main", stop)
		go turn(f, "services", stop)
		time.Sleep(time.Hour)
		if at, reset := d.reset(); reset {
			t.Errorf("reset at %v though both loops turned", at)
		}
		if want := 361; d.feeds < want-2 || d.feeds > want+2 {
			t.Errorf("fed %d times in an hour, want about %d (every third of the timeout)", d.feeds, want)
		}
		if p := problems.Snapshot().Problems; len(p) != 0 {
			t.Errorf("problems of a healthy node: %v", p)
		}
		if len(d.pretimeouts) != 1 || d.pretimeouts[0] != pretimeout {
			t.Errorf("pretimeouts %v, want one of %v", d.pretimeouts, pretimeout)
		}
		close(stop)
		settle(d)
	})
}

func TestOneStalledLoopResetsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{}
		f, problems := start(t, d)
		stop, stall := make(chan struct{}), make(chan struct{})
		f.Register("main", 5*time.Second)
		f.Register("services", 5*time.Second)
		go turn(f, "main", stop)
		go turn(f, "services", stall)
		time.Sleep(10 * time.Minute)
		close(stall)
		stalled := time.Now()
		time.Sleep(5 * time.Minute)
		at, reset := d.reset()
		if !reset {
			t.Fatal("never reset")
		}
		if took := at.Sub(stalled); took > 5*time.Second+Timeout+Timeout/3 {
			t.Errorf("reset %v after the loop stalled", took)
		}
		p := problems.Snapshot().Problems
		if len(p) != 1 || p[0].Source != source || !strings.HasSuffix(p[0].Text, "from services") {
			t.Errorf("problems %v", p)
		}
		close(stop)
	})
}

func TestRecoveredLoopIsFedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{}
		f, problems := start(t, d)
		f.Register("main", 5*time.Second)
		time.Sleep(15 * time.Second) // fed at 0 s; late at 10 s
		if len(problems.Snapshot().Problems) != 1 {
			t.Fatal("a late loop is not reported")
		}
		stop := make(chan struct{})
		go turn(f, "main", stop)
		time.Sleep(time.Minute)
		if at, reset := d.reset(); reset {
			t.Errorf("reset at %v though the loop came back in time", at)
		}
		if p := problems.Snapshot().Problems; len(p) != 0 {
			t.Errorf("problem stays: %v", p)
		}
		close(stop)
		settle(d)
	})
}

func TestNotFedWithoutLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{}
		start(t, d)
		time.Sleep(time.Hour)
		if d.feeds != 1 {
			t.Errorf("fed %d times by nothing but time", d.feeds)
		}
	})
}

func TestShutdownIsCutAtItsLimit(t *testing.T) {
	for name, longest := range map[string]time.Duration{"long": 0, "short": 15 * time.Second, "same": ShutdownTimeout} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &fakeDevice{longest: longest}
				f, _ := start(t, d)
				f.Register("main", 5*time.Second)
				time.Sleep(4 * time.Second)
				began := time.Now()
				f.Shutdown(ShutdownTimeout)
				f.Shutdown(ShutdownTimeout)
				time.Sleep(time.Hour)
				at, reset := d.reset()
				if !reset {
					t.Fatal("a hanging shutdown is never cut")
				}
				if took := at.Sub(began); took > ShutdownTimeout || took < ShutdownTimeout-10*time.Second {
					t.Errorf("cut after %v, want within %v", took, ShutdownTimeout)
				}
				if last := d.pretimeouts[len(d.pretimeouts)-1]; last != 0 {
					t.Errorf("pretimeout %v stays on at shutdown", last)
				}
			})
		})
	}
}

func TestResetByWatchdogIsReported(t *testing.T) {
	for boot, want := range map[BootStatus]int{0: 0, unix.WDIOF_CARDRESET: 1, unix.WDIOF_OVERHEAT: 0} {
		synctest.Test(t, func(t *testing.T) {
			d := &fakeDevice{boot: boot}
			_, problems := start(t, d)
			if got := len(problems.Snapshot().Problems); got != want {
				t.Errorf("boot status %q: %d problems, want %d", boot, got, want)
			}
			settle(d)
		})
	}
}

func TestStringNamesDeviceAndTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDevice{longest: 16 * time.Second}
		f, _ := start(t, d)
		if got := f.String(); got != "fake_wdt, 16 s" {
			t.Errorf("String() = %q", got)
		}
		settle(d)
	})
}

func TestChoosePrefersHardware(t *testing.T) {
	for _, c := range []struct {
		name    string
		devices map[string]string
		want    string
	}{
		{"none", nil, ""},
		{"soft only", map[string]string{"watchdog0": softdog}, "watchdog0"},
		{"soft first", map[string]string{"watchdog0": softdog, "watchdog1": "iTCO_wdt"}, "watchdog1"},
		{"two hardware", map[string]string{"watchdog10": "b", "watchdog2": "a"}, "watchdog2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			class := t.TempDir()
			for name, identity := range c.devices {
				if err := os.Mkdir(filepath.Join(class, name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(class, name, "identity"), []byte(identity+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Choose("/dev", class)
			if c.want == "" {
				if !errors.Is(err, ErrAbsent) {
					t.Errorf("Choose = %q, %v; want ErrAbsent", got, err)
				}
				return
			}
			if err != nil || got != "/dev/"+c.want {
				t.Errorf("Choose = %q, %v; want %s", got, err, c.want)
			}
		})
	}
	if _, err := Choose("/dev", filepath.Join(t.TempDir(), "no class")); !errors.Is(err, ErrAbsent) {
		t.Errorf("a kernel without watchdogs: %v, want ErrAbsent", err)
	}
}

// A plain file answers no ioctl: the worst driver there could be.
func TestDeviceThatAnswersNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFeeder(d, Timeout, slog.New(slog.DiscardHandler), status.NewRecorder(nil))
	if err == nil || f == nil || f.String() != "watchdog0, 30 s" {
		t.Errorf("feeder %v, error %v; want both", f, err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("%q was written, %v: a 'V' among it would stop a watchdog", got, err)
	}
}
