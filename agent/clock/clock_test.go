package clock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	build = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	truth = time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC) // when a test begins
	quiet = slog.New(slog.DiscardHandler)
)

// machine is a board in a bubble: its clock runs with the bubble's, from where it was set.
type machine struct {
	began time.Time // of the bubble's time

	mu       sync.Mutex
	ahead    time.Duration // of the clock to the truth
	steps    []time.Duration
	slews    []time.Duration
	rtc      time.Time
	noRTC    bool
	writes   []time.Time
	states   []State
	stepping error
	queries  map[string][]time.Duration // by server: when, since the beginning
	answers  map[string]func() (Sample, error)
}

func (m *machine) true() time.Time { return truth.Add(time.Since(m.began)) }

func (m *machine) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.true().Add(m.ahead)
}

func (m *machine) Set(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead = t.Sub(m.true())
	return m.stepping
}

func (m *machine) Step(offset time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stepping != nil {
		return m.stepping
	}
	m.ahead += offset
	m.steps = append(m.steps, offset)
	return nil
}

func (m *machine) Slew(offset, _, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if offset.Abs() >= MaxSlew {
		return fmt.Errorf("slew by %s", offset)
	}
	m.ahead += offset
	if offset != 0 {
		m.slews = append(m.slews, offset)
	}
	return nil
}

func (m *machine) Read() (time.Time, error) {
	if m.noRTC {
		return time.Time{}, &fs.PathError{Op: "open", Path: "/dev/rtc0", Err: fs.ErrNotExist}
	}
	return m.rtc, nil
}

func (m *machine) Write(t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes = append(m.writes, t)
	return nil
}

// drift moves the machine's clock.
func (m *machine) drift(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead += d
}

// answer makes a server say a time that is wrong by off, or fail.
func (m *machine) answer(server string, off time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[server] = func() (Sample, error) {
		return Sample{Server: server, Offset: off - m.ahead, RootDistance: 20 * time.Millisecond}, err
	}
}

func (m *machine) query(_ context.Context, address string) (Sample, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries[address] = append(m.queries[address], time.Since(m.began))
	if a := m.answers[address]; a != nil {
		return a()
	}
	return Sample{}, errors.New("i/o timeout")
}

func (m *machine) asked(server string) []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.queries[server])
}

func (m *machine) corrections() (steps, slews []time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.steps), slices.Clone(m.slews)
}

// onMachine runs body with a Clock whose machine is wrong by ahead.
func onMachine(t *testing.T, ahead time.Duration, options Options, body func(*testing.T, *machine, *Clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{
			began: time.Now(), ahead: ahead, queries: map[string][]time.Duration{}, answers: map[string]func() (Sample, error){},
		}
		options.Log, options.System, options.RTC = quiet, m, m
		options.query = m.query
		options.resolve = func(_ context.Context, s string) ([]string, error) { return []string{s}, nil }
		options.OnChange = func(s State) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.states = append(m.states, s)
		}
		body(t, m, New(options))
	})
}

// running starts c.Run and returns what ends it.
func running(t *testing.T, c *Clock) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFloorIsTheNewestTimeThatCanBe(t *testing.T) {
	newer, ceiling := build.Add(time.Hour), Ceiling(build)
	for _, c := range []struct {
		times []time.Time
		want  time.Time
	}{
		{nil, time.Time{}},
		{[]time.Time{build, newer}, newer},
		{[]time.Time{newer, {}, build}, newer},
		{[]time.Time{build, ceiling}, build},
		{[]time.Time{build, ceiling.Add(-time.Second)}, ceiling.Add(-time.Second)},
	} {
		if got := Floor(ceiling, c.times...); !got.Equal(c.want) {
			t.Errorf("Floor(%v) = %s, want %s", c.times, got, c.want)
		}
	}
}

func TestClockBeforeTheFloorIsSetToIt(t *testing.T) {
	onMachine(t, -57*365*24*time.Hour, Options{}, func(t *testing.T, m *machine, c *Clock) { // 1970
		if err := c.SetFloor(build); err != nil || !m.Now().Equal(build) {
			t.Fatalf("clock is %s, %v", m.Now(), err)
		}
		pass(time.Minute)
		if err := c.SetFloor(build, build.Add(time.Hour)); err != nil || !m.Now().Equal(build.Add(time.Hour)) {
			t.Errorf("clock is %s, %v", m.Now(), err)
		}
		if err := c.SetFloor(build); err != nil || !m.Now().Equal(build.Add(time.Hour)) || !c.State().Floor.Equal(build.Add(time.Hour)) {
			t.Errorf("an older time lowers the floor: clock is %s, %v", m.Now(), err)
		}
	})
	onMachine(t, 0, Options{}, func(t *testing.T, m *machine, c *Clock) {
		if err := c.SetFloor(build); err != nil || m.ahead != 0 {
			t.Errorf("a clock after the floor was moved by %s, %v", m.ahead, err)
		}
	})
	onMachine(t, -time.Hour*9000, Options{}, func(t *testing.T, m *machine, c *Clock) {
		m.stepping = fs.ErrPermission
		if err := c.SetFloor(build); !errors.Is(err, fs.ErrPermission) || len(c.State().Problems) != 1 {
			t.Errorf("%v, problems %q", err, c.State().Problems)
		}
	})
}

func TestFirstAnswerSetsTheClockByAnyAmount(t *testing.T) {
	for _, ahead := range []time.Duration{-100 * 24 * time.Hour, -time.Second, time.Second, 60 * 365 * 24 * time.Hour} {
		onMachine(t, ahead, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
			m.answer("a", 0, nil)
			if err := c.SetFloor(build); err != nil {
				t.Fatal(err)
			}
			stop := running(t, c)
			if s := c.State(); m.ahead != 0 || !s.Synchronised || s.Server != "a" || len(s.Problems) != 0 {
				t.Errorf("ahead by %s: now by %s, state %+v", ahead, m.ahead, s)
			}
			if len(m.writes) != 1 || !m.writes[0].Equal(truth) {
				t.Errorf("hardware clock was set to %v", m.writes)
			}
			stop()
			if len(m.states) != 1 {
				t.Errorf("told %d times", len(m.states))
			}
		})
	}
}

func TestAnswerBeforeTheFloorIsRefused(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}, SavePath: filepath.Join(t.TempDir(), "clock")}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", -24*time.Hour, nil)
		if err := c.SetFloor(truth); err != nil {
			t.Fatal(err)
		}
		defer running(t, c)()
		pass(time.Hour)
		s := c.State()
		if m.ahead != 0 || s.Synchronised {
			t.Errorf("clock is ahead by %s, state %+v", m.ahead, s)
		}
		if len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "2027-03-03") || !strings.Contains(s.Problems[0], c.options.SavePath) {
			t.Errorf("problems %q", s.Problems)
		}
		m.answer("a", 0, nil)
		pass(3 * time.Minute)
		if s := c.State(); !s.Synchronised || len(s.Problems) != 0 {
			t.Errorf("state after the server is right %+v", s)
		}
	})
}

// OVMF takes an empty hardware clock's 1970 for 2070, and the kernel believes it
// before the agent starts.
func TestClockAfterTheCeilingIsSetToTheFloor(t *testing.T) {
	onMachine(t, 44*365*24*time.Hour, Options{Ceiling: Ceiling(build)}, func(t *testing.T, m *machine, c *Clock) {
		m.rtc = m.Now()
		if err := c.SetFloor(build, m.Now()); err != nil || !m.Now().Equal(build) {
			t.Errorf("clock is %s, %v", m.Now(), err)
		}
		if err := c.ReadRTC(); err == nil || !m.Now().Equal(build) {
			t.Errorf("the hardware clock was believed: %s, %v", m.Now(), err)
		}
	})
	for _, made := range []time.Time{{}, time.Unix(1, 0), build} {
		if got := Ceiling(made); got.Before(truth) || got.After(latest) {
			t.Errorf("built in %d: nothing is believed after %s", made.Year(), got)
		}
	}
}

func TestAnswerAfterTheCeilingIsRefused(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", latest.Sub(truth), nil)
		defer running(t, c)()
		pass(time.Hour)
		if m.ahead != 0 || c.Synchronised() {
			t.Errorf("clock is ahead by %s", m.ahead)
		}
	})
}

func TestLaterOffsetsAreSlewed(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		defer running(t, c)()
		m.drift(-400 * time.Millisecond)
		pass(minPoll)
		steps, slews := m.corrections()
		if !slices.Equal(slews, []time.Duration{400 * time.Millisecond}) || len(steps) != 1 {
			t.Errorf("steps %v, slews %v", steps, slews)
		}
	})
}

func TestLargeLaterOffsetIsSteppedOnlyWhenConfirmed(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		defer running(t, c)()
		m.answer("a", 10*time.Second, nil) // one answer is wrong
		pass(minPoll - minPoll/10)
		for steps, _ := m.corrections(); len(m.asked("a")) < 2; steps, _ = m.corrections() {
			if len(steps) != 1 {
				t.Fatalf("steps %v", steps)
			}
			pass(time.Second)
		}
		m.answer("a", 0, nil)
		pass(5 * time.Second)
		if steps, _ := m.corrections(); len(steps) != 1 || len(m.asked("a")) != 3 {
			t.Errorf("steps %v after %d questions", steps, len(m.asked("a")))
		}
		m.drift(-time.Minute) // something else set the clock
		pass(2 * minPoll)
		if steps, _ := m.corrections(); len(steps) != 2 || steps[1] != time.Minute {
			t.Errorf("steps %v", steps)
		}
	})
}

func TestPollIntervalGrowsAndIsBounded(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		defer running(t, c)()
		pass(24 * time.Hour)
		at := m.asked("a")
		for i, want := range []time.Duration{64, 128, 256, 512, 1024, 1024, 1024} {
			if gap := at[i+1] - at[i]; gap > want*time.Second || gap < want*time.Second*89/100 {
				t.Errorf("gap %d is %s, want up to a tenth less than %d s", i, gap, want)
			}
		}
	})
}

func TestSilentServersAreAskedForeverAndAProblem(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		defer running(t, c)()
		pass(20 * time.Second)
		if p := c.State().Problems; len(p) != 0 {
			t.Errorf("problems after 20 s: %q", p)
		}
		pass(10 * time.Minute)
		if p := c.State().Problems; len(p) != 1 || p[0] != "no NTP server answers: the clock is not synchronised" {
			t.Errorf("problems after 10 min: %q", p)
		}
		pass(24 * time.Hour)
		if n := len(m.asked("a")); n < 24*3600/128 || n > 24*3600/100 {
			t.Errorf("%d questions in a day", n)
		}
		m.answer("a", 0, nil)
		c.Wake()
		synctest.Wait()
		if s := c.State(); !s.Synchronised || len(s.Problems) != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestServersThatFallSilentUnsynchroniseTheClockAfterHours(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		defer running(t, c)()
		pass(time.Hour)
		m.answer("a", 0, errors.New("i/o timeout"))
		pass(2 * time.Hour)
		if s := c.State(); !s.Synchronised || len(s.Problems) != 0 {
			t.Errorf("state after two hours %+v", s)
		}
		pass(2 * time.Hour)
		if s := c.State(); s.Synchronised || len(s.Problems) != 1 {
			t.Errorf("state after four hours %+v", s)
		}
		m.answer("a", 0, nil)
		pass(3 * time.Minute)
		if s := c.State(); !s.Synchronised || len(s.Problems) != 0 {
			t.Errorf("state after the server is back %+v", s)
		}
	})
}

func TestWhoIsAsked(t *testing.T) {
	dhcp := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	for _, c := range []struct {
		options Options
		dhcp    []netip.Addr
		want    string
	}{
		{Options{Servers: []string{"own"}, Defaults: []string{"default"}}, dhcp, "own"},
		{Options{Defaults: []string{"default"}}, dhcp, "192.0.2.1"},
		{Options{Defaults: []string{"default"}}, nil, "default"},
		{Options{}, nil, ""},
	} {
		onMachine(t, 0, c.options, func(t *testing.T, m *machine, clock *Clock) {
			clock.SetDHCPServers(c.dhcp)
			defer running(t, clock)()
			pass(time.Minute)
			var asked []string
			for s := range m.queries {
				asked = append(asked, s)
			}
			if got := strings.Join(asked, " "); got != c.want {
				t.Errorf("asked %q, want %q", got, c.want)
			}
			if p := clock.State().Problems; c.want == "" && (len(p) != 1 || !strings.Contains(p[0], "network.ntp")) {
				t.Errorf("problems without a server: %q", p)
			}
		})
	}
}

func TestServersFromDHCPAreAskedAtOnce(t *testing.T) {
	onMachine(t, -time.Hour, Options{}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("192.0.2.1", 0, nil)
		defer running(t, c)()
		pass(time.Hour)
		c.SetDHCPServers([]netip.Addr{netip.MustParseAddr("192.0.2.1")})
		synctest.Wait()
		if !c.Synchronised() || m.ahead != 0 {
			t.Errorf("state %+v", c.State())
		}
	})
}

func TestServerThatDeniesIsLeftAlone(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a", "b"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, kissError{"DENY"})
		m.answer("b", 0, kissError{"RATE"})
		defer running(t, c)()
		pass(23 * time.Hour)
		if n := len(m.asked("a")); n != 1 {
			t.Errorf("the server that denies was asked %d times in 23 hours", n)
		}
		// 1024 s, and twice as long each time.
		if n := len(m.asked("b")); n < 4 || n > 8 {
			t.Errorf("the server that is asked too often was asked %d times in 23 hours", n)
		}
		pass(2 * time.Hour)
		if n := len(m.asked("a")); n != 2 {
			t.Errorf("the server that denies was asked %d times in 25 hours", n)
		}
	})
	h := holds{}
	for n := range 1000 {
		h.kiss(fmt.Sprint(n), "DENY", truth)
	}
	if len(h) > 64 {
		t.Errorf("%d addresses are remembered", len(h))
	}
}

func TestClockThatCannotBeSetIsAProblem(t *testing.T) {
	onMachine(t, -time.Hour, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.stepping = fs.ErrPermission
		m.answer("a", 0, nil)
		defer running(t, c)()
		pass(time.Minute)
		if s := c.State(); s.Synchronised || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "cannot be corrected") {
			t.Errorf("state %+v", s)
		}
	})
}

func TestTimeIsSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	onMachine(t, 0, Options{Servers: []string{"a"}, SavePath: path}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		if err := c.SetFloor(build); err != nil {
			t.Fatal(err)
		}
		stop := running(t, c)
		saved := func(want time.Time) {
			t.Helper()
			if got, err := ReadSaved(path); err != nil || !got.Equal(want) {
				t.Errorf("saved %s, %v, want %s", got, err, want)
			}
		}
		saved(truth)
		pass(31 * time.Minute)
		saved(truth.Add(30 * time.Minute))
		stop()
		saved(truth.Add(31 * time.Minute))
	})
}

func TestMadeUpTimeIsNotSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	// A hardware clock with an empty battery says 2095.
	onMachine(t, 68*365*24*time.Hour, Options{SavePath: path}, func(t *testing.T, m *machine, c *Clock) {
		if err := c.SetFloor(build); err != nil {
			t.Fatal(err)
		}
		stop := running(t, c)
		pass(1000 * time.Hour)
		stop()
		if got, err := ReadSaved(path); err != nil || !got.Equal(build.Add(999*time.Hour)) {
			t.Errorf("saved %s, %v, want what has passed since the build: %s", got, err, build.Add(999*time.Hour))
		}
	})
}

func TestTimeThatCannotBeSavedIsAProblem(t *testing.T) {
	onMachine(t, 0, Options{Servers: []string{"a"}, SavePath: filepath.Join(t.TempDir(), "none", "clock")}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if p := c.State().Problems; len(p) != 1 || !strings.Contains(p[0], "save the time") {
			t.Errorf("problems %q", p)
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("Run ends without an error although the time was not saved")
		}
	})
}

func TestSavedFilesThatMakeNoSenseAreErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	for _, content := range []string{"", "\n", "now\n", "2027-03-04T05:06:07Z", "2027-03-04T05:06:07Z\nmore", "2100-01-01T00:00:00Z\n",
		"1969-12-31T23:59:59Z\n", "9999-01-01T00:00:00Z\n", strings.Repeat("2", 100)} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSaved(path); err == nil || !got.IsZero() {
			t.Errorf("%q is read as %s", content, got)
		}
	}
	if got, err := ReadSaved(filepath.Join(t.TempDir(), "none")); err != nil || !got.IsZero() {
		t.Errorf("no file is read as %s, %v", got, err)
	}
}

func FuzzSaved(f *testing.F) {
	f.Add("2027-03-04T05:06:07Z\n")
	f.Add("2027-03-04T05:06:07+02:00\n")
	f.Fuzz(func(t *testing.T, content string) {
		if got, err := parseSaved(content); err == nil && (!got.Before(latest) || got.Before(time.Unix(0, 0))) {
			t.Errorf("%q is read as %s", content, got)
		}
	})
}

func TestHardwareClockOfALateDriver(t *testing.T) {
	for _, c := range []struct {
		name  string
		rtc   time.Time
		none  bool
		want  time.Duration // the clock is ahead afterwards
		fails bool
	}{
		{"right", truth, false, 0, false},
		{"behind", build.Add(-time.Hour), false, build.Sub(truth), false},
		{"in 2150", latest.AddDate(50, 0, 0), false, build.Sub(truth), true},
		{"none", time.Time{}, true, build.Sub(truth), false},
	} {
		onMachine(t, -57*365*24*time.Hour, Options{}, func(t *testing.T, m *machine, clock *Clock) {
			m.rtc, m.noRTC = c.rtc, c.none
			if err := clock.SetFloor(build); err != nil {
				t.Fatal(err)
			}
			if err := clock.ReadRTC(); (err != nil) != c.fails || m.ahead != c.want {
				t.Errorf("%s: ahead by %s, %v, want %s", c.name, m.ahead, err, c.want)
			}
		})
	}
	onMachine(t, 0, Options{Servers: []string{"a"}}, func(t *testing.T, m *machine, c *Clock) {
		m.answer("a", 0, nil)
		defer running(t, c)()
		m.rtc = truth.AddDate(1, 0, 0)
		if err := c.ReadRTC(); err != nil || m.ahead != 0 {
			t.Errorf("a synchronised clock was moved by %s, %v", m.ahead, err)
		}
	})
}
