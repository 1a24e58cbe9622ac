package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// RTC is a hardware clock, which keeps UTC.
type RTC interface {
	// Read returns an error that is fs.ErrNotExist if the board has none.
	Read() (time.Time, error)
	Write(t time.Time) error
}

// Device is the RTC behind a device file: /dev/rtc0.
type Device string

var _ RTC = Device("")

// Read asks for the time (RTC_RD_TIME, rtc(4)).
func (d Device) Read() (time.Time, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	raw, err := unix.IoctlGetRTCTime(int(f.Fd()))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the hardware clock %s: %w", d, err)
	}
	return fromRTC(raw)
}

// Write sets the time (RTC_SET_TIME, rtc(4)).
func (d Device) Write(t time.Time) error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetRTCTime(int(f.Fd()), toRTC(t)); err != nil {
		return fmt.Errorf("set the hardware clock %s: %w", d, err)
	}
	return nil
}

func fromRTC(r *unix.RTCTime) (time.Time, error) {
	t := time.Date(int(r.Year)+1900, time.Month(r.Mon+1), int(r.Mday), int(r.Hour), int(r.Min), int(r.Sec), 0, time.UTC)
	if *toRTC(t) != (unix.RTCTime{Sec: r.Sec, Min: r.Min, Hour: r.Hour, Mday: r.Mday, Mon: r.Mon, Year: r.Year, Wday: int32(t.Weekday()), Yday: int32(t.YearDay() - 1)}) {
		return time.Time{}, errors.New("the hardware clock holds no valid date")
	}
	return t, nil
}

func toRTC(t time.Time) *unix.RTCTime {
	t = t.UTC()
	return &unix.RTCTime{
		Sec: int32(t.Second()), Min: int32(t.Minute()), Hour: int32(t.Hour()), Mday: int32(t.Day()),
		Mon: int32(t.Month()) - 1, Year: int32(t.Year()) - 1900, Wday: int32(t.Weekday()), Yday: int32(t.YearDay() - 1),
	}
}

// noRTC tells whether err says that the board has no hardware clock, or that its driver is not loaded yet.
func noRTC(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
