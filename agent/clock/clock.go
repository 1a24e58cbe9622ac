package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Options are what a Clock works with. Log is required.
type Options struct {
	Log      *slog.Logger
	Servers  []string    // names or addresses a person configured; if there are any, no others are asked
	Defaults []string    // asked if neither a person nor DHCP names one; may be empty
	SavePath string      // file on data that holds the time over reboots; empty: not saved
	Ceiling  time.Time   // what no source is believed after, see [Ceiling]; zero: the year 2100
	OnChange func(State) // called from one goroutine after each change but that of Offset; may be nil

	System System // nil: the kernel's clock
	RTC    RTC    // nil: /dev/rtc0

	resolve func(ctx context.Context, server string) ([]string, error)
	query   func(ctx context.Context, address string) (Sample, error)
}

// State is what a Clock knows at one moment.
type State struct {
	Synchronised bool          // a time server has been heard in the last hours
	Server       string        // the address that was believed last
	Offset       time.Duration // what the last correction was
	Floor        time.Time
	Problems     []string // what is wrong now, for a person to read
}

func (s State) equal(t State) bool {
	return s.Synchronised == t.Synchronised && s.Server == t.Server && s.Floor.Equal(t.Floor) && slices.Equal(s.Problems, t.Problems)
}

const (
	minPoll = 64 * time.Second
	maxPoll = 1024 * time.Second
	// Intervals between attempts while no server answers: from firstRetry to lastRetry.
	firstRetry = 2 * time.Second
	lastRetry  = 128 * time.Second
	// staleAfter is when a clock that no server has confirmed counts as not synchronised any more: a bad crystal has
	// gone wrong by a second then.
	staleAfter = 3 * time.Hour
	saveEvery  = 30 * time.Minute
	// patience is how long servers may be silent before State.Problems speaks of it.
	patience = 20 * time.Second
	// confirm is the wait before a second look at an offset that would be stepped.
	confirm = 2 * time.Second
)

// Clock steers the system's clock.
type Clock struct {
	options Options
	holds   holds         // of Run only
	wake    chan struct{} // look again now

	mu       sync.Mutex
	dhcp     []string
	state    State
	told     State
	floorAt  time.Time // on Go's monotonic clock: when state.Floor was set
	problems problems
}

// problems are of the kinds there can be.
type problems struct{ floor, servers, save, rtc string }

// New returns a Clock that does nothing yet.
func New(options Options) *Clock {
	if options.System == nil {
		options.System = kernelClock{}
	}
	if options.RTC == nil {
		options.RTC = Device("/dev/rtc0")
	}
	if options.Ceiling.IsZero() {
		options.Ceiling = latest
	}
	if options.resolve == nil {
		options.resolve = resolve
	}
	if options.query == nil {
		options.query = query
	}
	return &Clock{options: options, holds: holds{}, wake: make(chan struct{}, 1), floorAt: time.Now()}
}

// State returns the state of this moment.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state
	for _, p := range []string{c.problems.floor, c.problems.servers, c.problems.save, c.problems.rtc} {
		if p != "" {
			s.Problems = append(s.Problems, p)
		}
	}
	return s
}

// Synchronised is State().Synchronised.
func (c *Clock) Synchronised() bool { return c.State().Synchronised }

// SetFloor raises the floor to the newest of times and sets the clock to that if it is before it, or after the
// ceiling. Call it before anything
// needs the time, again once data is mounted, and whenever newer signed metadata was seen.
func (c *Clock) SetFloor(times ...time.Time) error {
	c.mu.Lock()
	floor := Floor(c.options.Ceiling, append(times, c.state.Floor)...)
	if floor.After(c.state.Floor) {
		c.state.Floor, c.floorAt = floor, time.Now()
	}
	c.mu.Unlock()
	now := c.options.System.Now()
	// The kernel itself may have believed an empty hardware clock.
	if floor.IsZero() || !now.Before(floor) && now.Before(c.options.Ceiling) {
		return nil
	}
	err := c.options.System.Set(floor)
	if err != nil {
		err = fmt.Errorf("set the clock from %s to %s, the newest time known: %w", stamp(now), stamp(floor), err)
	} else {
		c.options.Log.Info("clock set to the newest time known", "was", stamp(now), "is", stamp(floor))
	}
	c.problem(func(p *problems) { p.floor = text(err) })
	return err
}

// ReadRTC takes the time of the hardware clock, if it is later than the clock and no server was heard. Call it when
// an RTC's driver was loaded after boot: the kernel itself looks only at those that are built in. A board without
// an RTC is no error.
func (c *Clock) ReadRTC() error {
	t, err := c.options.RTC.Read()
	if noRTC(err) {
		return nil
	}
	if err != nil {
		return err
	}
	now := c.options.System.Now()
	if c.Synchronised() || !t.After(now) {
		return nil
	}
	if !t.Before(c.options.Ceiling) {
		return fmt.Errorf("the hardware clock says %s, which is not believed", stamp(t))
	}
	if err := c.options.System.Set(t); err != nil {
		return fmt.Errorf("set the clock to the hardware clock's %s: %w", stamp(t), err)
	}
	c.options.Log.Info("clock set to the hardware clock", "was", stamp(now), "is", stamp(t))
	return nil
}

// SetDHCPServers names the servers that DHCP gave. They are asked if a person configured none.
func (c *Clock) SetDHCPServers(servers []netip.Addr) {
	var list []string
	for _, s := range servers {
		list = append(list, s.String())
	}
	c.mu.Lock()
	changed := !slices.Equal(list, c.dhcp)
	c.dhcp = list
	c.mu.Unlock()
	if changed {
		c.Wake()
	}
}

// Wake makes Run ask again now, if no server has answered yet: the network may have come.
func (c *Clock) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Clock) servers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range [][]string{c.options.Servers, c.dhcp, c.options.Defaults} {
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// Run keeps the clock right until ctx ends, and then saves the time. It returns what went wrong with that.
func (c *Clock) Run(ctx context.Context) error {
	began := time.Now()
	steering := steering{clock: c, poll: minPoll}
	retry := firstRetry
	var heard time.Time // when a server was believed last; zero: never
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.finish()
		case <-save.C:
			_ = c.save(false) // State says what is wrong with it
			c.tell()
			continue
		case <-c.wake:
			if c.Synchronised() {
				continue
			}
			retry = firstRetry
		case <-next.C:
		}
		wait, err := steering.round(ctx)
		if ctx.Err() != nil {
			return c.finish()
		}
		if err == nil {
			heard, retry = time.Now(), firstRetry
		} else {
			wait, retry = retry, min(2*retry, lastRetry)
			if c.Synchronised() {
				wait = minPoll
			}
			c.silent(err, time.Since(began), heard)
		}
		next.Reset(wait - time.Duration(rand.Int64N(int64(wait)/10+1)))
		c.tell()
	}
}

// silent notes that no server could be believed.
func (c *Clock) silent(err error, since time.Duration, heard time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !heard.IsZero() && time.Since(heard) > staleAfter {
		c.state.Synchronised = false
	}
	if c.state.Synchronised || since < patience {
		return
	}
	text := "no NTP server answers"
	var below belowFloorError
	switch {
	case errors.Is(err, errSteer):
		text = err.Error()
	case errors.Is(err, errNoServers):
		text = "no NTP server is known: name one at network.ntp in skerry.yaml"
	case errors.As(err, &below):
		text = below.Error()
		if c.options.SavePath != "" {
			text += ": if the server is right, remove " + c.options.SavePath + " and reboot"
		}
	}
	// The same words as long as nothing changes: each change is shown.
	c.problems.servers = text + ": the clock is not synchronised"
}

// finish saves the time for the next boot, on the disk itself.
func (c *Clock) finish() error {
	if c.Synchronised() {
		c.writeRTC()
	}
	return c.save(true)
}

// save writes the time that is known to have passed: what the clock shows if a server confirmed it, else the floor
// and the time since. What a hardware clock made up is not saved: it would become a floor that no server gets past.
func (c *Clock) save(sync bool) error {
	if c.options.SavePath == "" {
		return nil
	}
	c.mu.Lock()
	known := c.state.Floor
	if c.state.Server != "" {
		known = Floor(c.options.Ceiling, known, c.options.System.Now())
	} else {
		// A little less than was counted: a crystal that runs fast must not get ahead of the truth.
		elapsed := time.Since(c.floorAt)
		known = known.Add(elapsed - elapsed/1000)
	}
	c.mu.Unlock()
	if known.IsZero() {
		return nil
	}
	err := writeSaved(c.options.SavePath, known, sync)
	c.problem(func(p *problems) { p.save = text(err) })
	return err
}

// writeRTC takes the time over into the hardware clock, if there is one.
func (c *Clock) writeRTC() {
	err := c.options.RTC.Write(c.options.System.Now())
	if noRTC(err) {
		err = nil
	}
	c.problem(func(p *problems) { p.rtc = text(err) })
}

func (c *Clock) problem(change func(*problems)) {
	c.mu.Lock()
	change(&c.problems)
	c.mu.Unlock()
}

// tell calls OnChange if there is something new.
func (c *Clock) tell() {
	s := c.State()
	if c.options.OnChange != nil && !s.equal(c.told) {
		c.told = s
		c.options.OnChange(s)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
