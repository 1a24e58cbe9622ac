// Package power watches for the power button: ACPI and GPIO buttons, and the
// power key of a keyboard, are all input devices that send KEY_POWER
// (Documentation/input/event-codes.rst of the kernel). Devices may come and go.
//
// What a press means is left to the caller, and so are the drivers (package
// modules). KEY_SLEEP is ignored: a node does not sleep.
package power

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Event types and codes, linux/input-event-codes.h.
const (
	evKey    = 0x01
	keyPower = 116
	keyMax   = 0x2ff
)

// Watcher reports presses of the power button.
type Watcher struct {
	dir     string
	open    func(path string) (io.ReadCloser, error)
	pressed func(device string)
	log     *slog.Logger

	mu sync.Mutex
	// Devices being read, by inode: one pulled out and put back has its old path
	// before its reader noticed.
	read map[uint64]io.ReadCloser
	wait sync.WaitGroup
}

// errNoButton says that a device cannot send KEY_POWER.
var errNoButton = errors.New("it has no power key")

// NewWatcher watches the input devices in dir (/dev/input). pressed is called
// with the device's path for every press, never for a release or a repeat, and
// for one press at a time a device.
func NewWatcher(dir string, pressed func(device string), log *slog.Logger) *Watcher {
	return &Watcher{dir: dir, open: openButton, pressed: pressed, log: log, read: map[uint64]io.ReadCloser{}}
}

// Run watches until ctx ends. dir need not exist yet; its parent must.
func (w *Watcher) Run(ctx context.Context) error {
	watch, err := newDirWatch(w.dir)
	if err != nil {
		return fmt.Errorf("watch %s for power buttons: %w", w.dir, err)
	}
	stop := context.AfterFunc(ctx, func() { watch.close() })
	defer stop()
	defer w.wait.Wait()
	defer w.closeAll()
	for {
		// The watch stands before the directory is read: a device that comes
		// between the two is seen twice, not never.
		w.scan(ctx)
		if err := watch.next(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch %s for power buttons: %w", w.dir, err)
		}
	}
}

// scan opens the devices that are not being read. Opening one that has no power
// key again at each change is cheap: there are few, and changes are rare.
func (w *Watcher) scan(ctx context.Context) {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			w.log.Error("look for power buttons", "error", err)
		}
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "event") {
			continue
		}
		path := filepath.Join(w.dir, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			continue // gone again
		}
		inode := info.Sys().(*syscall.Stat_t).Ino
		w.mu.Lock()
		_, reading := w.read[inode]
		w.mu.Unlock()
		if reading {
			continue
		}
		device, err := w.open(path)
		switch {
		case errors.Is(err, errNoButton), errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			w.log.Warn("power button", "error", err)
			continue
		}
		w.mu.Lock()
		w.read[inode] = device
		w.mu.Unlock()
		w.log.Info("power button", "device", path)
		w.wait.Go(func() { w.readDevice(ctx, path, inode, device) })
	}
}

func (w *Watcher) readDevice(ctx context.Context, path string, inode uint64, device io.ReadCloser) {
	err := presses(device, func() {
		if ctx.Err() == nil {
			w.log.Info("power button pressed", "device", path)
			w.pressed(path)
		}
	})
	// ENODEV: the device was pulled out. io.EOF: the same, of something that is
	// not a device.
	if ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ENODEV) {
		w.log.Warn("power button is not read any more", "device", path, "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.read, inode)
	device.Close() // while it is open its inode cannot be another device's
}

func (w *Watcher) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, device := range w.read {
		device.Close()
	}
}

// eventSize is the size of struct input_event on 64-bit machines, amd64 and
// arm64 alike: two 64-bit words of time, 16-bit type and code, 32-bit value.
const eventSize = 24

// presses calls press for every press of KEY_POWER read from r, until r ends.
func presses(r io.Reader, press func()) error {
	buf := make([]byte, 16*eventSize)
	have := 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		events := buf[:have-have%eventSize]
		for ; len(events) > 0; events = events[eventSize:] {
			kind := binary.NativeEndian.Uint16(events[16:])
			code := binary.NativeEndian.Uint16(events[18:])
			value := int32(binary.NativeEndian.Uint32(events[20:]))
			// 0 is a release and 2 a repeat.
			if kind == evKey && code == keyPower && value == 1 {
				press()
			}
		}
		have = copy(buf, buf[have-have%eventSize:have])
		if err != nil {
			return err
		}
	}
}
