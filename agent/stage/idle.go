package stage

import (
	"context"
	"fmt"
	"time"

	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/watchdog"
)

// nodeUp ends the boot: at once if all services are ready, else as soon as
// they are.
func (n *node) nodeUp(ctx context.Context) {
	n.status.Update(func(s *status.Status) {
		s.Phase = status.Phase{}
		s.NetworkWait = n.networkWait
		s.AgentTime = uptime() - n.KernelTime - n.networkWait
	})
	go func() {
		n.lateSystem(ctx)
		n.settle(ctx)
		if n.feeder.Load() == nil {
			// Its driver may have come only now.
			if err := n.startWatchdog(ctx); err != nil {
				n.status.Report("watchdog", err.Error())
			}
		}
	}()
	go func() {
		if n.supervisor != nil && n.supervisor.WaitReady(ctx) == nil {
			n.status.Clear("services") // some may have needed longer than their phase
			n.measureMemory()
			n.console.NodeUp()
		}
	}()
}

// measureEvery is how often the free room on data and the agent's memory are
// looked at.
const measureEvery = time.Minute

// idle is what the node does between boot and shutdown.
func (n *node) idle(ctx context.Context, requests <-chan pid1.Request) error {
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
			n.measureData()
			n.measureMemory()
		case <-pressed:
			return n.shutdown(ctx, pid1.Request{Action: pid1.PowerOff, Reason: "power button"}, requests)
		case request := <-requests:
			return n.shutdown(ctx, request, requests)
		}
	}
}

// shutdown takes the node down. It returns only if the machine did not obey.
func (n *node) shutdown(ctx context.Context, request pid1.Request, requests <-chan pid1.Request) error {
	n.log.Info("going down", "action", request.Action.String(), "reason", request.Reason)
	n.console.Shutdown(fmt.Sprintf("%s: %s", request.Action, request.Reason))
	if feeder := n.feeder.Load(); feeder != nil {
		feeder.Shutdown(watchdog.ShutdownTimeout)
	}
	down := pid1.Shutdown{
		Log: n.log,
		Sys: pid1.Kernel(),
		Hooks: []pid1.Hook{
			{Name: "clock", Run: n.saveClock},
			{Name: "console", Run: func(ctx context.Context) error {
				n.console.Print("services have stopped")
				n.console.Flush(ctx)
				return nil
			}},
			{Name: "log", Run: n.closeLog},
		},
	}
	if n.supervisor != nil {
		down.StopServices = n.supervisor.Stop
	}
	return down.Run(ctx, request.Action, requests)
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
