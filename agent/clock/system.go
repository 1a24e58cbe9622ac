package clock

import (
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// System is the clock that is steered. The real one is the kernel's.
type System interface {
	Now() time.Time
	// Set makes it t.
	Set(t time.Time) error
	// Step moves it by offset at once.
	Step(offset time.Duration) error
	// Slew moves it by offset, less than MaxSlew, by running faster or slower for a while, and tells the kernel that
	// the clock is synchronised to within maxError. The poll interval says how fast to correct.
	Slew(offset, poll, maxError time.Duration) error
}

// MaxSlew is the offset from which on a clock is stepped. It is the kernel's own limit (MAXPHASE).
const MaxSlew = 500 * time.Millisecond

// kernelClock is CLOCK_REALTIME.
type kernelClock struct{}

var _ System = kernelClock{}

func (kernelClock) Now() time.Time { return time.Now() }

func (kernelClock) Set(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

func (kernelClock) Step(offset time.Duration) error {
	t := stepTimex(offset)
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	return nil
}

func (kernelClock) Slew(offset, poll, maxError time.Duration) error {
	t := slewTimex(offset, poll, maxError)
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("adjtimex: %w", err)
	}
	return nil
}

// stepTimex adds an offset to the clock, whatever it shows at that moment.
func stepTimex(offset time.Duration) unix.Timex {
	return unix.Timex{Modes: unix.ADJ_SETOFFSET, Time: unix.NsecToTimeval(int64(offset))}
}

// slewTimex hands an offset to the kernel's phase-locked loop (RFC 5905 section 12, adjtimex(2)). It corrects the
// frequency too, so that a clock which was right stays right for longer. The time constant is the one that ntpd and
// systemd-timesyncd use: log2 of the poll interval less 4.
func slewTimex(offset, poll, maxError time.Duration) unix.Timex {
	return unix.Timex{
		Modes:    unix.ADJ_OFFSET | unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		Status:   unix.STA_PLL, // and no STA_UNSYNC
		Offset:   int64(offset),
		Constant: int64(max(bits.Len64(uint64(poll/time.Second))-1-4, 0)),
		// The kernel takes 16 s for "not synchronised" and lets the value grow between two corrections.
		Maxerror: min(maxError.Microseconds(), (8 * time.Second).Microseconds()),
		Esterror: offset.Abs().Microseconds(),
	}
}
