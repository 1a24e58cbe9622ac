package stage

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/watchdog"
)

// nodeUp ends the boot: at once if all services are ready, else as soon as
// they are.
func (n *node) nodeUp(ctx context.Context) {
	n.status.Update(func(s *status.Status) { s.Phase = status.Phase{} })
	go func() {
		if n.supervisor != nil && n.supervisor.WaitReady(ctx) == nil {
			n.status.Clear("services") // some may have needed longer than their phase
			n.status.Update(func(s *status.Status) {
				s.NetworkWait = n.networkWait
				s.AgentTime = uptime() - n.KernelTime - n.networkWait
			})
			n.measureMemory()
			n.console.NodeUp()
		}
		debug.SetGCPercent(garbagePercent)
		n.lateWork(ctx)
	}()
}

// garbagePercent makes the heap of a running node small rather than collection
// rare: see [debug.SetGCPercent].
const garbagePercent = 50

// lateWork does, once, what a node can be brought up without: it loads the
// other drivers, and sets the kernel parameters that come with them.
func (n *node) lateWork(ctx context.Context) {
	n.late.Do(func() {
		n.lateSystem(ctx)
		n.settle(ctx)
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
	if feeder := n.feeder.Load(); feeder != nil {
		feeder.Shutdown(watchdog.ShutdownTimeout)
	}
	if n.bootEnded(abandonWait) {
		down.StopServices, down.Hooks = n.stopServices(), n.shutdownHooks()
	} else {
		n.log.Error("a phase of the boot does not end: going down without saving what it made")
	}
	return down.Run(ctx, request, requests)
}

// stopServices returns what stops them, nil if there are none.
func (n *node) stopServices() func(context.Context) error {
	if n.supervisor == nil {
		return nil
	}
	return n.supervisor.Stop
}

// shutdownHooks save what the node knows.
func (n *node) shutdownHooks() []pid1.Hook {
	return []pid1.Hook{
		{Name: "clock", Run: n.saveClock},
		{Name: "console", Run: func(ctx context.Context) error {
			n.console.Print("services have stopped")
			n.console.Flush(ctx)
			return nil
		}},
		{Name: "log", Run: n.closeLog},
	}
}

// closeLog writes what the log still holds and closes its file, which would
// keep data mounted.
func (n *node) closeLog(context.Context) error {
	if n.stopLog != nil {
		n.stopLog()
	}
	n.persisting.Wait()
	return nil
}
