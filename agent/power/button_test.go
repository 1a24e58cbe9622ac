package power

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is struct input_event as the kernel writes it on this machine.
type event struct {
	time  unix.Timeval
	kind  uint16
	code  uint16
	value int32
}

func encode(events ...event) []byte {
	var b []byte
	for _, e := range events {
		b = append(b, unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))...)
	}
	return b
}

var (
	press   = event{kind: evKey, code: keyPower, value: 1}
	repeat  = event{kind: evKey, code: keyPower, value: 2}
	release = event{kind: evKey, code: keyPower, value: 0}
	report  = event{}
	sleep   = event{kind: evKey, code: 142, value: 1}
	scanned = event{kind: 4, code: keyPower, value: 1}
)

func TestEventSizeIsTheKernels(t *testing.T) {
	if got := unsafe.Sizeof(event{}); got != eventSize {
		t.Errorf("struct input_event has %d bytes here, the code reads %d", got, eventSize)
	}
}

func TestOnlyPressesCount(t *testing.T) {
	stream := encode(press, report, repeat, report, release, report, sleep, scanned, press)
	for name, r := range map[string]io.Reader{
		"at once":    bytes.NewReader(stream),
		"by bytes":   iotest.OneByteReader(bytes.NewReader(stream)),
		"by halves":  iotest.HalfReader(bytes.NewReader(stream)),
		"with error": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		count := 0
		if err := presses(r, func() { count++ }); err != io.EOF {
			t.Errorf("%s: ends with %v", name, err)
		}
		if count != 2 {
			t.Errorf("%s: %d presses, want 2", name, count)
		}
	}
	count := 0
	presses(bytes.NewReader(stream[:len(stream)-1]), func() { count++ })
	if count != 1 {
		t.Errorf("a half event counts: %d presses, want 1", count)
	}
}

func TestHasKey(t *testing.T) {
	keys := make([]byte, keyMax/8+1)
	if hasKey(keys, keyPower) {
		t.Error("no key is set")
	}
	binary.LittleEndian.PutUint64(keys[8:], 1<<(keyPower-64))
	if !hasKey(keys, keyPower) || hasKey(keys, keyPower+1) || hasKey(keys, keyPower-1) {
		t.Error("bit 116 of the kernel's array of longs is not found")
	}
}

// fixture runs a Watcher on a directory where named pipes stand for devices.
type fixture struct {
	dir     string
	presses chan string
	stopped chan error
	cancel  context.CancelFunc
}

func run(t *testing.T, dir string) *fixture {
	t.Helper()
	f := &fixture{dir: dir, presses: make(chan string, 16), stopped: make(chan error, 1)}
	w := NewWatcher(dir, func(device string) { f.presses <- filepath.Base(device) }, slog.New(slog.DiscardHandler))
	w.open = func(path string) (io.ReadCloser, error) {
		if strings.HasSuffix(path, "mouse") {
			return nil, errNoButton
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.stopped <- w.Run(ctx) }()
	t.Cleanup(cancel)
	return f
}

func plug(t *testing.T, path string) *os.File {
	t.Helper()
	// A pipe without a writer ends at once, so it gets one (O_RDWR waits for
	// nobody) before it is seen.
	aside := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(aside, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(aside, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func (f *fixture) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.presses:
		if got != want {
			t.Errorf("press of %s, want %s", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no press of %s", want)
	}
}

func (f *fixture) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	select {
	case err := <-f.stopped:
		if err != nil {
			t.Errorf("Run ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not end with its context")
	}
}

func TestPressOfPresentAndHotPluggedButton(t *testing.T) {
	dir := t.TempDir()
	first := plug(t, filepath.Join(dir, "event0"))
	plug(t, filepath.Join(dir, "event1mouse"))
	plug(t, filepath.Join(dir, "mouse0"))
	f := run(t, dir)
	first.Write(encode(press, report, release))
	f.expect(t, "event0")
	second := plug(t, filepath.Join(dir, "event7"))
	second.Write(encode(press))
	f.expect(t, "event7")
	first.Write(encode(release, press))
	f.expect(t, "event0")
	f.stop(t)
}

func TestDirectoryThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "input")
	f := run(t, dir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plug(t, filepath.Join(dir, "event0")).Write(encode(press))
	f.expect(t, "event0")
	f.stop(t)
}

func TestDeviceThatGoesAndComesBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "event0")
	first := plug(t, path)
	f := run(t, dir)
	first.Write(encode(press))
	f.expect(t, "event0")
	// The last writer of a pipe ends its reader, as a pulled device does.
	first.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	plug(t, path).Write(encode(press))
	f.expect(t, "event0")
	f.stop(t)
}

func TestRunSaysWhatItCannotWatch(t *testing.T) {
	w := NewWatcher(filepath.Join(t.TempDir(), "no", "such"), func(string) {}, slog.New(slog.DiscardHandler))
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("error is %v", err)
	}
}

func FuzzPresses(f *testing.F) {
	f.Add(encode(press, report, release))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, single := 0, 0
		presses(bytes.NewReader(stream), func() { whole++ })
		presses(iotest.OneByteReader(bytes.NewReader(stream)), func() { single++ })
		if whole != single || whole > len(stream)/eventSize {
			t.Errorf("%d presses at once, %d byte by byte", whole, single)
		}
	})
}
