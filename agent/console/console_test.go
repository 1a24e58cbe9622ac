package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/status"
)

// safeBuffer is a serial line whose other end reads at once.
type safeBuffer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	writes int
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *safeBuffer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

func newConsole(r *status.Recorder) *Console {
	return New(Options{Status: r, Log: slog.New(slog.DiscardHandler)})
}

func TestSerialBootEndsWithTheNodeUpLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := status.NewRecorder(nil)
		c := newConsole(r)
		var line safeBuffer
		c.addSerial(ctx, "ttyS0", &line)
		go c.Run(ctx)
		synctest.Wait()

		c.PhaseDone(status.Phase{Name: "config", Index: 2, Count: 9}, 3*time.Millisecond)
		r.Report("clock", "no answer\x1b[2J")
		synctest.Wait()
		c.PhaseFailed(status.Phase{Name: "network", Index: 5, Count: 9}, errors.New("no carrier"), "plug the cable in")
		for _, text := range []string{"opening the datastore", "opening the datastore", "starting the API server\x1b"} {
			r.Update(func(s *status.Status) {
				s.Services = []status.Service{{Name: "cluster", Status: text, Main: true}, {Name: "other", Status: text}}
			})
			synctest.Wait()
		}
		r.Clear("clock")
		r.Report("network", "no carrier")
		r.Update(func(s *status.Status) { s.Hostname, s.Release, s.Slot = "shop-17", "1.4.0", "A" })
		// No wait: NodeUp itself must announce what Run has not yet seen.
		c.NodeUp()
		synctest.Wait()
		up := line.String()
		r.Update(func(s *status.Status) { s.Services[0].Status = "the node is not Ready: no network" })
		synctest.Wait()
		cancel()
		synctest.Wait()
		if after, want := strings.TrimPrefix(line.String(), up), "skerry: cluster: the node is not Ready: no network\n"; after != want {
			t.Errorf("after the boot: %q, want %q", after, want)
		}

		lines := strings.Split(strings.TrimSuffix(up, "\n"), "\n")
		want := []string{
			"phase config (2/9): done, 3 ms",
			"skerry: problem: clock: no answer?[2J",
			"phase network (5/9): failed: no carrier, plug the cable in",
			"skerry: cluster: opening the datastore",
			"skerry: cluster: starting the API server?",
			"skerry: problem: network: no carrier",
			"skerry: resolved: clock",
		}
		if diff := cmp.Diff(want, lines[:len(want)]); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		last := lines[len(lines)-2:]
		if last[0] != "boot: kernel 0.00 s, agent 0.00 s, network 0.00 s, services 0.00 s" || last[1] != "skerry: node up: shop-17 no address release 1.4.0 slot A: starting the API server?" {
			t.Errorf("the boot ends with %q", last)
		}
		if n := strings.Count(line.String(), "node up"); n != 1 {
			t.Errorf("%d lines say that the node is up", n)
		}
	})
}

// stopped is a line that takes nothing until it is let go.
type stopped struct {
	safeBuffer
	letGo chan struct{}
}

func (s *stopped) Write(p []byte) (int, error) {
	<-s.letGo
	return s.safeBuffer.Write(p)
}

func TestStoppedLineCostsNoTimeAndBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newConsole(status.NewRecorder(nil))
		dead := &stopped{letGo: make(chan struct{})}
		var alive safeBuffer
		c.addSerial(ctx, "ttyS0", dead)
		c.addSerial(ctx, "ttyS1", &alive)
		began := time.Now()
		const lines = 5000
		for i := range lines {
			c.Print(fmt.Sprintf("line %d %s", i, strings.Repeat("x", 100)))
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("printing waited %v", took)
		}
		synctest.Wait()
		if n := strings.Count(alive.String(), "\n"); n != lines {
			t.Errorf("the other console got %d lines, want %d", n, lines)
		}
		if n := len(c.serial[0].pending); n > maxPending {
			t.Errorf("%d bytes wait for the stopped console", n)
		}
		short, done := context.WithTimeout(ctx, 2*time.Second)
		c.Flush(short)
		done()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Flush waited %v, want its deadline of 2 s", took)
		}
		close(dead.letGo)
		c.Flush(ctx)
		text := dead.String()
		got := strings.Count(text, "\n") - 1
		if want := fmt.Sprintf("skerry: console: %d lines lost here", lines-got); !strings.Contains(text, want) {
			t.Errorf("%d lines came through, and the end is %q", got, text[max(0, len(text)-200):])
		}
		cancel()
		synctest.Wait()
	})
}

func TestFailedConsoleIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(status.NewRecorder(nil))
		reader, writer := io.Pipe()
		reader.CloseWithError(unix.EIO)
		c.addSerial(t.Context(), "ttyS0", writer)
		c.Print("one")
		synctest.Wait()
		c.Print("two")
		c.Flush(t.Context())
		if n := len(c.serial[0].pending); n != 0 {
			t.Errorf("%d bytes are kept for a console that failed", n)
		}
		c.wait.Wait()
	})
}

func TestScreenIsDrawnAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := status.NewRecorder(nil)
		c := newConsole(r)
		var screen safeBuffer
		c.addTerminal(ctx, "tty0", &screen, func() (int, int) { return 80, 25 })
		go c.Run(ctx)
		for i := range 1000 {
			r.Update(func(s *status.Status) { s.Boot = uint64(i) })
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		// The screen is taken, then one frame a second.
		if n := screen.count(); n < 10 || n > 13 {
			t.Errorf("%d writes in 12 seconds", n)
		}
		e := newEmulator(80, 25)
		e.Write([]byte(screen.String()))
		if e.err != nil || !strings.Contains(e.text(), "boot 999") {
			t.Errorf("%v; the last change is not shown:\n%s", e.err, e.text())
		}
		if e.cursor || e.blanking || !e.utf8 {
			t.Errorf("cursor %v, blanking %v, UTF-8 %v", e.cursor, e.blanking, e.utf8)
		}
		idle := screen.count()
		time.Sleep(repaintInterval - 15*time.Second)
		if n := screen.count(); n != idle {
			t.Errorf("an idle screen is written %d times", n-idle)
		}
		cancel()
		synctest.Wait()
	})
}

func TestWhatTheKernelPrintedOverTheScreenIsPaintedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := status.NewRecorder(nil)
		r.Update(func(s *status.Status) { *s = running() })
		c := newConsole(r)
		var screen safeBuffer
		c.addTerminal(ctx, "tty0", &screen, func() (int, int) { return 80, 25 })
		time.Sleep(time.Second)
		e := newEmulator(80, 25)
		e.Write([]byte(screen.String()))
		clean := e.text()
		taken := len(screen.String())
		fmt.Fprint(e, "\x1b[5;1Hkernel: something happened")
		time.Sleep(repaintInterval)
		e.Write([]byte(screen.String()[taken:]))
		if e.text() != clean {
			t.Errorf("after %v the screen is\n%s", repaintInterval, e.text())
		}
		cancel()
		synctest.Wait()
	})
}

func TestShutdownLeavesPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := status.NewRecorder(nil)
		c := newConsole(r)
		var screen, line safeBuffer
		c.addTerminal(ctx, "tty0", &screen, func() (int, int) { return 40, 10 })
		c.addSerial(ctx, "ttyS0", &line)
		c.Print("before")
		time.Sleep(100 * time.Millisecond)
		c.Shutdown("rebooting")
		c.Shutdown("really")
		c.Print("services stopped")
		c.Flush(ctx)
		if want := "skerry: before\nskerry: rebooting\nskerry: really\nskerry: services stopped\n"; line.String() != want {
			t.Errorf("serial: %q", line.String())
		}
		e := newEmulator(40, 10)
		e.Write([]byte(screen.String()))
		rows := strings.Split(e.text(), "\n")
		for i, want := range []string{"skerry: rebooting", "skerry: really", "skerry: services stopped", ""} {
			if got := strings.TrimRight(strings.Trim(rows[i], "|"), " "); got != want {
				t.Errorf("row %d is %q, want %q", i, got, want)
			}
		}
		if e.err != nil || !e.cursor || e.nowrap {
			t.Errorf("%v, cursor %v, nowrap %v", e.err, e.cursor, e.nowrap)
		}
		cancel()
		synctest.Wait()
	})
}

func TestScreenShowsTheLogGivenToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := New(Options{
			Status: status.NewRecorder(nil), Log: slog.New(slog.DiscardHandler),
			Tail: func(n int) []string { return []string{"from the ring"} },
		})
		var screen safeBuffer
		c.addTerminal(ctx, "tty0", &screen, func() (int, int) { return 80, 25 })
		c.Print("printed")
		time.Sleep(3 * time.Second)
		e := newEmulator(80, 25)
		e.Write([]byte(screen.String()))
		if !strings.Contains(e.text(), "from the ring") || strings.Contains(e.text(), "printed") {
			t.Errorf("screen:\n%s", e.text())
		}
		cancel()
		synctest.Wait()
	})
}

func TestFindTellsTerminalsFromLines(t *testing.T) {
	active := filepath.Join(t.TempDir(), "active")
	for list, want := range map[string][]Device{
		"tty0 ttyS0\n":               {{"/dev/tty0", true}, {"/dev/ttyS0", false}},
		"ttyAMA0 hvc0 tty12 ttyUSB3": {{"/dev/ttyAMA0", false}, {"/dev/hvc0", false}, {"/dev/tty12", true}, {"/dev/ttyUSB3", false}},
		"../tty0 tty":                {{"/dev/tty", false}},
		"\n":                         {{"/dev/console", false}},
	} {
		if err := os.WriteFile(active, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, Find(active, "/dev")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", list, diff)
		}
	}
	if diff := cmp.Diff([]Device{{"/dev/console", false}}, Find(active+"-none", "/dev")); diff != "" {
		t.Errorf("without sysfs (-want +got):\n%s", diff)
	}
}

// openPTY returns the master of a pseudo terminal and its slave's path.
func openPTY(t *testing.T) (*os.File, string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: 132, Row: 43}); err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", number)
}

func TestRealTerminalThatNobodyReads(t *testing.T) {
	master, path := openPTY(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := newConsole(status.NewRecorder(nil))
	c.Open(ctx, []Device{{Path: path}, {Path: "/dev/does-not-exist"}})
	if len(c.serial) != 1 {
		t.Fatalf("%d consoles open, want 1", len(c.serial))
	}
	file, err := open(Device{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if width, height := screenSize(file); width != 132 || height != 43 {
		t.Errorf("size %dx%d, want 132x43", width, height)
	}
	for range 2000 {
		c.Print(strings.Repeat("x", 70)) // more than a pty holds: its line is stopped
	}
	c.Print("last")
	buf := make([]byte, 100)
	if n, err := master.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "skerry: xxx") {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	cancel()
	ended := make(chan struct{})
	go func() { c.wait.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the writer of a stopped line does not end with its context")
	}
}

func TestScreenSizeOfWhatIsNoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if width, height := screenSize(file); width != defaultWidth || height != defaultHeight {
		t.Errorf("size %dx%d", width, height)
	}
	for in, want := range map[[2]int][2]int{
		{0, 0}: {80, 25}, {1, 1}: {minWidth, minHeight}, {9999, 9999}: {maxWidth, maxHeight}, {100, 40}: {100, 40},
	} {
		if w, h := clampSize(in[0], in[1]); w != want[0] || h != want[1] {
			t.Errorf("%v is taken for %dx%d, want %v", in, w, h, want)
		}
	}
}
