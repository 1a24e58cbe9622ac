package console

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/agent/status"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func running() status.Status {
	return status.Status{
		Hostname:  "shop-17",
		Addresses: prefixes("192.0.2.17/24", "2001:db8::17/64", "fe80::1/64"),
		Release:   "1.4.0", Board: "x86_64", Slot: "A",
		Phase:  status.Phase{Name: "services", Index: 8, Count: 9},
		NodeID: "4f3c9a1e-77b0-4c11-9a55-0d2b3f6f7a10", Boot: 12,
		KernelTime: 4120 * time.Millisecond, AgentTime: 2310 * time.Millisecond, NetworkWait: 1200 * time.Millisecond, ServiceWait: 31050 * time.Millisecond,
		ClockSynchronised: true,
		Data:              status.Data{Device: "/dev/vda4", Size: 16 << 30, Used: 1<<30 + 300<<20},
		Watchdog:          "iTCO_wdt, 30 s",
		AgentMemory:       18<<20 + 200<<10,
		Services: []status.Service{
			{Name: "cluster", State: "running", Status: "cluster server Ready", Main: true},
			{Name: "containerd", State: "running"},
		},
	}
}

// troubled has everything a screen can be given that is long, foreign or wrong.
func troubled() status.Status {
	s := running()
	s.Hostname = "evil\x1b[2J\x9b31m\u009bname\u202e"
	s.Trial = true
	s.Slot = "B"
	s.ClockSynchronised = false
	s.Addresses = nil
	for i := range 9 {
		s.Addresses = append(s.Addresses, netip.MustParsePrefix(fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:ffff:%x/128", i+1)))
	}
	s.Services = nil
	for i := range 20 {
		s.Services = append(s.Services, status.Service{Name: fmt.Sprintf("service-%d", i), State: "running", Status: strings.Repeat("long ", 60)})
	}
	s.Services[7] = status.Service{Name: "containerd", State: "failed", Status: "exit status 1\r\n\x1b]0;title\x07 \xff…"}
	s.Problems = []status.Problem{
		{Source: "containerd", Text: "it ended 5 times: see its log\x1b[?25h"},
		{Source: "clock", Text: "no answer"},
	}
	return s
}

var boot = []string{
	"phase mounts (1/9): done, 31 ms",
	"phase config (2/9): done, 3 ms",
	"skerry: problem: clock: no answer from 192.0.2.1: check network.ntp",
	"phase network (5/9): done, 1203 ms",
}

func TestScreens(t *testing.T) {
	for name, v := range map[string]view{
		"booting":  {status: status.Status{Release: "1.4.0", Phase: status.Phase{Name: "network", Index: 5, Count: 9}}, log: boot[:2]},
		"running":  {status: running(), up: true, log: boot},
		"troubled": {status: troubled(), log: append([]string{"kernel: \x1b[31mred\x1b[0m"}, boot...)},
	} {
		for _, size := range [][2]int{{80, 25}, {40, 10}, {200, 60}} {
			e := newEmulator(size[0], size[1])
			e.Write([]byte(takeScreen))
			e.Write(layout(v, size[0], size[1]).draw(nil))
			if e.err != nil {
				t.Errorf("%s %v: %v", name, size, e.err)
			}
			golden(t, fmt.Sprintf("%s-%dx%d.golden", name, size[0], size[1]), e.text()+"\n"+e.styled())
		}
	}
}

func TestBlocks(t *testing.T) {
	for name, s := range map[string]status.Status{"empty": {}, "running": running(), "troubled": troubled()} {
		golden(t, name+"-block.golden", strings.Join(append(block(s), nodeUp(s)), "\n")+"\n")
	}
}

func TestLines(t *testing.T) {
	network := status.Phase{Name: "network", Index: 5, Count: 9}
	for got, want := range map[string]string{
		phaseDone(network, 12*time.Millisecond):                               "phase network (5/9): done, 12 ms",
		phaseDone(network, 61*time.Second):                                    "phase network (5/9): done, 61000 ms",
		phaseDone(network, 400*time.Microsecond):                              "phase network (5/9): done, 0 ms",
		phaseFailed(network, errors.New("no\ncarrier"), "plug the cable in"):  "phase network (5/9): failed: no carrier, plug the cable in",
		phaseFailed(network, errors.New("no carrier: plug the cable in"), ""): "phase network (5/9): failed: no carrier: plug the cable in",
		nodeUp(running()): "skerry: node up: shop-17 192.0.2.17,2001:db8::17 release 1.4.0 slot A: cluster server Ready",
		nodeUp(status.Status{Hostname: "a", Release: "1", Slot: "B"}):                                                   "skerry: node up: a no address release 1 slot B",
		nodeUp(status.Status{Hostname: "a", Release: "1", Slot: "B", Addresses: prefixes("fe80::1/64", "127.0.0.1/8")}): "skerry: node up: a fe80::1 release 1 slot B",
		bootTimes(running()): "boot: kernel 4.12 s, agent 2.31 s, network 1.20 s, services 31.05 s",
		size(1023):           "1023 B",
		size(1024):           "1.0 KiB",
		size(1<<30 + 1<<29):  "1.5 GiB",
		size(1 << 62):        "4096.0 PiB",
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestSmallestScreenNamesTheNodeAndItsProblem(t *testing.T) {
	f := layout(view{status: troubled()}, minWidth, minHeight)
	e := newEmulator(minWidth, minHeight)
	e.Write([]byte(takeScreen))
	e.Write(f.draw(nil))
	if text := e.text(); e.err != nil || !strings.Contains(text, "Address") || !strings.Contains(text, "Problem") {
		t.Errorf("%v\n%s", e.err, text)
	}
}

// A screen that was brought from one frame to the next must be the one that is
// painted from nothing.
func TestRedrawLeavesTheRightScreen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	screen := newEmulator(80, 25)
	screen.Write([]byte(takeScreen))
	var shown *frame
	s := running()
	var log []string
	for i := range 500 {
		switch random.IntN(7) {
		case 0:
			s = troubled()
		case 1:
			s = running()
		case 2:
			s.Addresses = s.Addresses[:random.IntN(len(s.Addresses)+1)]
		case 3:
			s.Services = s.Services[:random.IntN(len(s.Services)+1)]
		case 4:
			s.Problems = nil
		case 5:
			s.Hostname = strings.Repeat("x", random.IntN(120))
		case 6:
			log = append(log, strings.Repeat(string(rune('a'+i%26)), random.IntN(100)))
		}
		next := layout(view{status: s, up: i > 250, log: log}, 80, 25)
		screen.Write(next.draw(shown))
		shown = next
		fresh := newEmulator(80, 25)
		fresh.Write([]byte(takeScreen))
		fresh.Write(next.draw(nil))
		if screen.err != nil || screen.scrolled != 0 {
			t.Fatalf("step %d: %v, scrolled %d", i, screen.err, screen.scrolled)
		}
		if screen.text() != fresh.text() || screen.styled() != fresh.styled() {
			t.Fatalf("step %d: the screen shows\n%s\nit should\n%s", i, screen.text(), fresh.text())
		}
	}
}

func TestOnlyChangedRowsAreDrawn(t *testing.T) {
	s := running()
	before := layout(view{status: s}, 80, 25)
	if out := layout(view{status: s}, 80, 25).draw(before); len(out) != 0 {
		t.Errorf("nothing changed and %d bytes are written", len(out))
	}
	s.Services[0].Status = "not Ready"
	e := newEmulator(80, 25)
	e.nowrap = true
	e.Write(layout(view{status: s}, 80, 25).draw(before))
	if e.moves != 1 {
		t.Errorf("one row changed and %d are drawn", e.moves)
	}
	if out := layout(view{status: s}, 60, 25).draw(before); len(out) == 0 {
		t.Error("a screen of another size is not drawn anew")
	}
}

func FuzzForeignTextCannotControlTheTerminal(f *testing.F) {
	f.Add("evil\x1b[2J", 80, 25)
	f.Add("\x9b1;1H\u009b\u202e\xff\xfe", 40, 10)
	f.Add("\r\n\t\x00\x7f", 1, 1)
	f.Fuzz(func(t *testing.T, text string, width, height int) {
		width, height = clampSize(width, height)
		s := status.Status{
			Hostname: text, Release: text, Board: text, Slot: text, NodeID: text, Watchdog: text,
			Phase:    status.Phase{Name: text},
			Services: []status.Service{{Name: text, State: text, Status: text}},
			Problems: []status.Problem{{Source: text, Text: text}},
			Data:     status.Data{Device: text},
		}
		e := newEmulator(width, height)
		e.Write([]byte(takeScreen))
		e.Write(layout(view{status: s, log: []string{text}}, width, height).draw(nil))
		if e.err != nil || e.scrolled != 0 || len(e.rest) != 0 {
			t.Errorf("screen: %v, scrolled %d", e.err, e.scrolled)
		}
		lines := append(block(s), nodeUp(s), phaseDone(s.Phase, 0), phaseFailed(s.Phase, errors.New(text), text))
		for _, line := range lines {
			for i := range len(line) {
				if line[i] < ' ' || line[i] >= 0x7f {
					t.Fatalf("byte %#x reaches the line: %q", line[i], line)
				}
			}
		}
	})
}
