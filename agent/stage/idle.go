package stage

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/watchdog"
)

// bootOver says that the phases are over.
func (n *node) bootOver() {
	close(n.booted)
	debug.SetGCPercent(garbagePercent)
	if feeder := n.feeder.Load(); feeder != nil {
		feeder.Unregister(bootLoop)
	}
}

// garbagePercent makes the heap of a running node small rather than collection
// rare: see [debug.SetGCPercent].
const garbagePercent = 50

// nodeUp ends the boot: at once if all services are ready, else as soon as
// they are.
func (n *node) nodeUp(ctx context.Context) {
	n.status.Update(func(s *status.Status) { s.Phase = status.Phase{} })
	if n.supervisor != nil && n.waitReady(ctx) == nil {
		n.status.Clear("services") // some may have needed longer than their phase
		n.status.Update(func(s *status.Status) {
			s.NetworkWait, s.ServiceWait = n.networkWait, n.serviceWait
			s.AgentTime = uptime() - n.KernelTime - n.networkWait - n.serviceWait
		})
		n.measureMemory()
		n.console.NodeUp()
	}
	n.lateWork(ctx)
	if n.clock != nil {
		// The kernel takes over the time of a hardware clock whose driver came late.
		if err := n.clock.SetFloor(); err != nil {
			n.log.Warn("the clock", "err", err)
		}
	}
}

// lateAfter is how long a boot may take until drivers that can wait are loaded
// although it is not over.
const lateAfter = 5 * time.Second

// lateWork does, once, what a node can be brought up without: it loads the
// other drivers, and sets the kernel parameters that come with them.
func (n *node) lateWork(ctx context.Context) {
	n.late.Do(func() {
		for _, name := range namedModules {
			n.load(ctx, name)
		}
		n.settle(ctx)
		n.lateSettings()
		n.lateWatchdog(ctx)
	})
}

// measureEvery is how often the free room on data and the agent's memory are
// looked at.
const measureEvery = time.Minute

// idle is what the node does until it is to go down. It begins with the boot,
// which abandon ends.
func (n *node) idle(ctx context.Context, abandon func(), requests <-chan pid1.Request) error {
	pressed := make(chan struct{}, 1)
	go n.watchPower(ctx, pressed)
	alive := time.NewTicker(idleEvery)
	defer alive.Stop()
	measure := time.NewTicker(measureEvery)
	defer measure.Stop()
	for {
		select {
		case <-alive.C:
			if feeder := n.feeder.Load(); feeder != nil {
				feeder.Alive(idleLoop)
			}
		case <-measure.C:
			if n.bootEnded(0) {
				n.measureData()
				n.measureMemory()
			}
		case <-pressed:
			abandon()
			return n.shutdown(ctx, pid1.Request{Action: pid1.PowerOff, Reason: "power button"}, requests)
		case request := <-requests:
			abandon()
			return n.shutdown(ctx, request, requests)
		}
	}
}

// bootEnded waits for the end of the phases, for at most d.
func (n *node) bootEnded(d time.Duration) bool {
	select {
	case <-n.booted:
		return true
	default:
	}
	select {
	case <-n.booted:
		return true
	case <-time.After(d):
		return false
	}
}

// abandonWait is how long a phase may take to notice that it is not wanted any more.
const abandonWait = 10 * time.Second

// shutdown takes the node down. It returns only if the machine did not obey.
func (n *node) shutdown(ctx context.Context, request pid1.Request, requests <-chan pid1.Request) error {
	down := pid1.Shutdown{Log: n.log, Sys: pid1.Kernel()}
	if request.Immediate {
		return down.Run(ctx, request, nil)
	}
	n.log.Info("going down", "action", request.Action.String(), "reason", request.Reason)
	n.console.Shutdown(fmt.Sprintf("%s: %s", request.Action, request.Reason))
	n.leaving.Store(true)
	if feeder := n.feeder.Load(); feeder != nil {
		feeder.Shutdown(watchdog.ShutdownTimeout)
	}
	// The wait is a step of the shutdown: requests are read meanwhile.
	down.StopServices = n.stopServices
	down.Hooks = []pid1.Hook{
		{Name: "console", Run: func(ctx context.Context) error {
			n.console.Print("services have stopped")
			n.console.Flush(ctx)
			return nil
		}},
		{Name: "files on data", Run: n.closers.run},
	}
	return down.Run(ctx, request, requests)
}

// stopServices stops what the boot started.
func (n *node) stopServices(ctx context.Context) error {
	if !n.bootEnded(abandonWait) {
		return errors.New("a phase of the boot does not end: its services are killed with all other processes")
	}
	if n.supervisor == nil {
		return nil
	}
	return n.supervisor.Stop(ctx)
}
