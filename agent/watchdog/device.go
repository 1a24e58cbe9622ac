package watchdog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Device is an armed watchdog. Timeouts are whole seconds, as the kernel's are.
type Device interface {
	// Identity is the driver's name for itself.
	Identity() string
	// SetTimeout asks for a time and returns the one the device took.
	SetTimeout(time.Duration) (time.Duration, error)
	// SetPretimeout asks the driver to warn (by the kernel's pretimeout
	// governor) that long before a reset; it fails where the device cannot.
	SetPretimeout(time.Duration) error
	// KeepAlive starts the time again.
	KeepAlive() error
	// BootStatus says why the machine was last reset.
	BootStatus() (BootStatus, error)
}

// BootStatus holds the WDIOF_ bits a device keeps over a reset. Many keep none.
type BootStatus uint32

// ByWatchdog reports whether the last reset was the watchdog's.
func (b BootStatus) ByWatchdog() bool { return b&unix.WDIOF_CARDRESET != 0 }

// String names the reasons, or is empty when the device gives none.
func (b BootStatus) String() string {
	var reasons []string
	for _, reason := range []struct {
		bit  BootStatus
		text string
	}{
		{unix.WDIOF_CARDRESET, "reset by the watchdog"},
		{unix.WDIOF_OVERHEAT, "overheated"},
		{unix.WDIOF_FANFAULT, "fan failed"},
		{unix.WDIOF_POWERUNDER, "power too low"},
		{unix.WDIOF_POWEROVER, "power too high"},
	} {
		if b&reason.bit != 0 {
			reasons = append(reasons, reason.text)
		}
	}
	return strings.Join(reasons, ", ")
}

// ErrAbsent says that the machine has no watchdog, or none whose driver is
// loaded. It is a fact to show, not a fault.
var ErrAbsent = errors.New("no watchdog device")

// softdog is what the kernel's software watchdog calls itself
// (drivers/watchdog/softdog.c). It is a kernel timer: it cannot end a hang of
// the kernel it runs in, so any hardware goes first.
const softdog = "Software Watchdog"

// Choose returns the path of the device to use below dev (/dev), judged by what
// class (/sys/class/watchdog) says of each: the first hardware device, else
// softdog, else ErrAbsent. sysfs is asked and not WDIOC_GETSUPPORT, because
// opening a watchdog arms it, and a nowayout device stays armed for good.
func Choose(dev, class string) (string, error) {
	entries, err := os.ReadDir(class)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a watchdog: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "watchdog") {
			names = append(names, e.Name())
		}
	}
	// watchdog2 before watchdog10.
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, soft := range []bool{false, true} {
		for _, name := range names {
			// Without CONFIG_WATCHDOG_SYSFS there is no identity to read, and the
			// device counts as hardware.
			identity, _ := os.ReadFile(filepath.Join(class, name, "identity"))
			if (strings.TrimSpace(string(identity)) == softdog) == soft {
				return filepath.Join(dev, name), nil
			}
		}
	}
	return "", ErrAbsent
}

type device struct {
	path string
	fd   int // not an *os.File: its finalizer would close it
	info unix.WatchdogInfo
}

// Open arms the watchdog at path. It stays armed: there is no way to close it.
// A driver without magic close stops when its file is closed, and one that has
// it must never be told to, or a hang between there and the reset is for ever.
func Open(path string) (Device, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open watchdog %s: %w", path, err)
	}
	d := &device{path: path, fd: fd}
	// Every driver of the watchdog core answers. One that does not is armed all
	// the same and must be fed.
	if info, err := unix.IoctlGetWatchdogInfo(fd); err == nil {
		d.info = *info
	}
	return d, nil
}

func (d *device) Identity() string {
	name, _, _ := bytes.Cut(d.info.Identity[:], []byte{0})
	if len(name) == 0 {
		return filepath.Base(d.path)
	}
	return strings.ToValidUTF8(string(name), "?")
}

func (d *device) SetTimeout(t time.Duration) (time.Duration, error) {
	refused := unix.IoctlSetPointerInt(d.fd, unix.WDIOC_SETTIMEOUT, int(t/time.Second))
	// The driver rounds to what it can, and one that refuses (out of its range,
	// or fixed by the board) counts some time in any case: ask which.
	seconds, err := unix.IoctlGetInt(d.fd, unix.WDIOC_GETTIMEOUT)
	if err != nil || seconds <= 0 {
		return 0, fmt.Errorf("watchdog %s: set its timeout to %v: %w", d.path, t, errors.Join(refused, err))
	}
	return time.Duration(seconds) * time.Second, nil
}

func (d *device) SetPretimeout(t time.Duration) error {
	if d.info.Options&unix.WDIOF_PRETIMEOUT == 0 {
		return fmt.Errorf("watchdog %s: set its pretimeout: %w", d.path, errors.ErrUnsupported)
	}
	if err := unix.IoctlSetPointerInt(d.fd, unix.WDIOC_SETPRETIMEOUT, int(t/time.Second)); err != nil {
		return fmt.Errorf("watchdog %s: set its pretimeout to %v: %w", d.path, t, err)
	}
	return nil
}

func (d *device) KeepAlive() error {
	if err := unix.IoctlWatchdogKeepalive(d.fd); err != nil {
		return fmt.Errorf("feed watchdog %s: %w", d.path, err)
	}
	return nil
}

func (d *device) BootStatus() (BootStatus, error) {
	status, err := unix.IoctlGetInt(d.fd, unix.WDIOC_GETBOOTSTATUS)
	if err != nil {
		return 0, fmt.Errorf("ask watchdog %s for its boot status: %w", d.path, err)
	}
	return BootStatus(uint32(status)), nil
}
