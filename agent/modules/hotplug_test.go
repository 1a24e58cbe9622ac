package modules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func hotplug(t *testing.T, m *machine) *Hotplug {
	return &Hotplug{Loader: m.loader(t, nil), Log: slog.New(slog.DiscardHandler)}
}

func TestColdplugLooksAgainUntilNothingNewAppears(t *testing.T) {
	m := newMachine(t, "")
	m.device(t, "pci", "0000:00:01.0", "pci:v00001234d00000001")
	m.device(t, "pci", "0000:00:02.0", "pci:v00001234d00000001")
	m.device(t, "pci", "0000:00:03.0", "pci:v0000FFFFd00000001")
	write(t, filepath.Join(m.Sys, "bus/pci/devices/0000:00:04.0/vendor"), "no modalias")
	write(t, filepath.Join(m.Sys, "bus/empty/drivers_probe"), "")
	write(t, filepath.Join(m.Sys, "class/input/input0/modalias"), "usb:vABCDp0001\n")
	m.effect["bus"] = func() { m.device(t, "bus", "disk0", "bus:disk0") }
	if err := hotplug(t, m).Coldplug(context.Background()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(m.loaded)
	m.wantLoaded(t, "bus", "core", "disk", "mii", "net_card")
}

func TestColdplugLoadsOnlyWhatIsWanted(t *testing.T) {
	m := newMachine(t, "")
	m.device(t, "pci", "a", "pci:v00001234d00000001")
	m.device(t, "usb", "b", "usb:vABCDp0001")
	h := hotplug(t, m)
	h.Wanted = func(modalias string) bool { return strings.HasPrefix(modalias, "pci:") }
	if err := h.Coldplug(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.wantLoaded(t, "core", "bus")
}

func TestColdplugServesTheLowestRankAndWhatAppearsThroughItFirst(t *testing.T) {
	m := newMachine(t, "")
	m.device(t, "usb", "b", "usb:vABCDp0001")
	m.device(t, "pci", "a", "pci:v00001234d00000001")
	m.effect["bus"] = func() { m.device(t, "bus", "disk0", "bus:disk0") }
	h := hotplug(t, m)
	h.Rank = func(modalias string) int {
		if strings.HasPrefix(modalias, "usb:") {
			return 1
		}
		return 0
	}
	if err := h.Coldplug(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.wantLoaded(t, "core", "bus", "disk", "mii", "net_card")
}

func TestColdplugGoesOnAfterAModuleThatFails(t *testing.T) {
	m := newMachine(t, "")
	m.fail["bus"] = unix.EINVAL
	m.device(t, "pci", "a", "pci:v00001234d00000001")
	m.device(t, "usb", "b", "usb:vABCDp0001")
	if err := hotplug(t, m).Coldplug(context.Background()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(m.loaded)
	m.wantLoaded(t, "core", "mii", "net_card")
}

func TestColdplugWithoutSysfsSaysSo(t *testing.T) {
	m := newMachine(t, "")
	m.Sys = filepath.Join(m.Sys, "gone")
	if err := hotplug(t, m).Coldplug(context.Background()); err == nil || !strings.Contains(err.Error(), "is sysfs mounted?") {
		t.Errorf("error is %v", err)
	}
}

func TestColdplugEndsWithItsContext(t *testing.T) {
	m := newMachine(t, "")
	m.device(t, "pci", "a", "pci:v00001234d00000001")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := hotplug(t, m).Coldplug(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	m.wantLoaded(t)
}

// script gives events and errors, and then waits until all modules are loaded
// that were asked for.
type script struct {
	steps []any
	end   func()
}

func (s *script) Receive(ctx context.Context) (Event, error) {
	if len(s.steps) == 0 {
		s.end()
		<-ctx.Done()
		return Event{}, ctx.Err()
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, ok := step.(error); ok {
		return Event{}, err
	}
	return step.(Event), nil
}

func TestWatchLoadsModulesForAddedDevices(t *testing.T) {
	m := newMachine(t, "")
	// This device's event is lost.
	m.device(t, "usb", "b", "usb:vABCDp0001")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 10)
	for _, name := range []string{"bus", "net_card"} {
		m.effect[name] = func() { done <- struct{}{} }
	}
	source := &script{
		steps: []any{
			Event{Action: Remove, Modalias: "pci:v00009999d0001"},
			Event{Action: Add, Subsystem: "block"},
			Event{Action: Add, Modalias: "pci:v00001234d0001"},
			ErrOverrun,
			Event{Action: Change, Modalias: "pci:v00009999d0001"},
		},
		end: func() {
			<-done
			<-done
			cancel()
		},
	}
	var followed []string
	err := hotplug(t, m).Watch(ctx, source, func(e Event) { followed = append(followed, e.Action) })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	slices.Sort(m.loaded)
	m.wantLoaded(t, "bus", "core", "mii", "net_card")
	if want := []string{Remove, Add, Add, Lost, Change}; !slices.Equal(followed, want) {
		t.Errorf("followed %v, want %v", followed, want)
	}
}

func TestWatchFollowsEventsWhileModulesLoad(t *testing.T) {
	m := newMachine(t, "")
	release := make(chan struct{})
	m.during = func(string, string) { <-release }
	ctx, cancel := context.WithCancel(context.Background())
	source := &script{end: func() {
		close(release)
		cancel()
	}}
	for i := range 1000 {
		source.steps = append(source.steps, Event{Action: Add, Modalias: fmt.Sprintf("pci:v00001234d%04d", i%4)})
	}
	count := 0
	if err := hotplug(t, m).Watch(ctx, source, func(Event) { count++ }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if count != 1000 {
		t.Errorf("followed %d events, want 1000", count)
	}
}

func TestQueueHoldsEachModaliasOnce(t *testing.T) {
	q := &queue{waiting: map[string]struct{}{}, ready: make(chan struct{}, workers)}
	for range 3 {
		q.add("a")
		q.add("b")
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, want := range []string{"a", "b"} {
		if got, ok := q.next(ctx); !ok || got != want {
			t.Errorf("next is %q, %v, want %q", got, ok, want)
		}
	}
	q.add("a") // again, now that it is out
	if got, ok := q.next(ctx); !ok || got != "a" {
		t.Errorf("next is %q, %v", got, ok)
	}
	cancel()
	if got, ok := q.next(ctx); ok {
		t.Errorf("next is %q after the end", got)
	}
}
