package modules

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// workers is how many modules are loaded at the same time. Most of the time goes
// into probing, and the smallest machines have two cores.
const workers = 2

// Source gives events; Listener is one.
type Source interface {
	Receive(context.Context) (Event, error)
}

// Hotplug loads the modules for devices.
type Hotplug struct {
	Loader *Loader
	// Wanted chooses devices by modalias; nil means all. The initramfs needs no
	// choice: its index has only what leads to storage.
	Wanted func(modalias string) bool
	// WantedBus chooses the buses, by their names in sysfs, whose devices
	// Coldplug looks at; nil means all. Looking at a device takes as long as
	// reading three files.
	WantedBus func(bus string) bool
	// Rank says which devices Coldplug serves first: those of the lowest rank,
	// and what appears through them. nil means the order of sysfs.
	Rank func(modalias string) int
	// Pause is how long Coldplug leaves the devices of one rank to show what
	// they lead to before it goes on with the next rank.
	Pause time.Duration
	Log   *slog.Logger
}

// Coldplug loads modules for all devices that sysfs shows, and for those that
// appear through these modules, until there is nothing new. A module that cannot
// be loaded is logged: the machine may well do without it. Devices that a bus
// finds later, as USB does, are left to Watch.
func (h *Hotplug) Coldplug(ctx context.Context) error {
	seen := map[string]struct{}{}
	var later []string
	for {
		fresh, err := h.scan(seen)
		if err != nil {
			return err
		}
		fresh, later = h.first(append(later, fresh...))
		if len(fresh) == 0 {
			return nil
		}
		work := make(chan string)
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for modalias := range work {
					h.load(ctx, modalias)
				}
			})
		}
		for _, modalias := range fresh {
			select {
			case work <- modalias:
			case <-ctx.Done():
			}
		}
		close(work)
		group.Wait()
		if len(later) > 0 {
			pause(ctx, h.Pause)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// first splits off the modaliases of the lowest rank.
func (h *Hotplug) first(all []string) (lowest, others []string) {
	if h.Rank == nil || len(all) == 0 {
		return all, nil
	}
	lowestRank := h.Rank(slices.MinFunc(all, func(a, b string) int { return h.Rank(a) - h.Rank(b) }))
	for _, modalias := range all {
		if h.Rank(modalias) == lowestRank {
			lowest = append(lowest, modalias)
		} else {
			others = append(others, modalias)
		}
	}
	return lowest, others
}

// scan returns the wanted modaliases in sysfs that are not in seen, and puts
// them there.
func (h *Hotplug) scan(seen map[string]struct{}) ([]string, error) {
	var fresh []string
	err := modaliases(h.Loader.system.Sys, h.WantedBus, func(modalias []byte) {
		if _, ok := seen[string(modalias)]; ok {
			return
		}
		s := string(modalias)
		seen[s] = struct{}{}
		if h.Wanted == nil || h.Wanted(s) {
			fresh = append(fresh, s)
		}
	})
	return fresh, err
}

func (h *Hotplug) load(ctx context.Context, modalias string) {
	if ctx.Err() != nil {
		return
	}
	if err := h.Loader.LoadFor(ctx, modalias); err != nil && ctx.Err() == nil {
		h.Log.Warn("a device is without a module", "modalias", modalias, "error", err)
	}
}

// Watch receives events until the context ends, and then returns its error. It
// loads modules for devices that are added and calls follow, if that is not nil,
// with every event in order, without waiting for modules. When events were
// lost, follow gets one with action Lost, and sysfs is searched for devices
// again. At its end Watch waits for modules that the kernel is just loading.
func (h *Hotplug) Watch(ctx context.Context, source Source, follow func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	q := &queue{waiting: map[string]struct{}{}, ready: make(chan struct{}, workers)}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for range workers {
		group.Go(func() {
			for {
				modalias, ok := q.next(ctx)
				if !ok {
					return
				}
				h.load(ctx, modalias)
			}
		})
	}
	for {
		event, err := source.Receive(ctx)
		switch {
		case errors.Is(err, ErrOverrun):
			h.Log.Warn("looking at all devices again", "error", err)
			event = Event{Action: Lost}
			fresh, err := h.scan(map[string]struct{}{})
			if err != nil {
				return err
			}
			for _, modalias := range fresh {
				q.add(modalias)
			}
		case err != nil:
			return err
		case event.Action == Add && event.Modalias != "" && (h.Wanted == nil || h.Wanted(event.Modalias)):
			q.add(event.Modalias)
		}
		if follow != nil {
			follow(event)
		}
	}
}

// queue has modaliases that wait for a worker, each once, so that it cannot
// become longer than there are kinds of devices.
type queue struct {
	mu      sync.Mutex
	order   []string
	waiting map[string]struct{}
	ready   chan struct{}
}

func (q *queue) add(modalias string) {
	q.mu.Lock()
	_, known := q.waiting[modalias]
	if !known {
		q.waiting[modalias] = struct{}{}
		q.order = append(q.order, modalias)
	}
	q.mu.Unlock()
	if known {
		return
	}
	select {
	case q.ready <- struct{}{}:
	default: // every worker will look
	}
}

func (q *queue) next(ctx context.Context) (string, bool) {
	for {
		q.mu.Lock()
		if len(q.order) > 0 && ctx.Err() == nil {
			modalias := q.order[0]
			q.order = q.order[1:]
			delete(q.waiting, modalias)
			q.mu.Unlock()
			return modalias, true
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return "", false
		case <-q.ready:
		}
	}
}
