package stage

import (
	"context"
	"strings"

	"github.com/skerry-os/skerry/agent/clock"
	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/status"
)

// savedTime is the file on data that holds the time over reboots.
const savedTime = stateDir + "/time"

// newClock makes the clock, which does nothing yet. The network tells it of time
// servers, so it is made first.
func (n *node) newClock() {
	n.clock = clock.New(clock.Options{
		Log: n.log, Servers: n.config.Network.NTP, OnChange: n.showClock, Defaults: defaultTimeServers,
		Ceiling: clock.Ceiling(n.release.buildTime), SavePath: savedTime,
	})
}

// startClock makes sure that the clock is not before what is known to be past,
// and begins to follow time servers. Nothing waits for them.
func (n *node) startClock(context.Context) error {
	saved, err := clock.ReadSaved(savedTime)
	if err != nil {
		n.status.Report("clock", err.Error())
	}
	if err := n.clock.ReadRTC(); err != nil {
		n.log.Warn("the hardware clock is not used", "err", err)
	}
	err = n.clock.SetFloor(n.release.buildTime, saved)
	ctx, stop := context.WithCancel(n.life)
	ended := make(chan struct{})
	var saveErr error
	n.background("clock", func() {
		defer close(ended)
		saveErr = n.clock.Run(ctx)
	})
	n.closers.add(pid1.Hook{Name: "clock", Run: func(ctx context.Context) error {
		stop() // which saves the time
		if err := await(ctx, ended); err != nil {
			return err
		}
		return saveErr
	}})
	return err
}

// defaultTimeServers are asked when neither the node config nor DHCP names one.
var defaultTimeServers = []string{"0.debian.pool.ntp.org", "1.debian.pool.ntp.org", "2.debian.pool.ntp.org"}

// showClock keeps the state of the clock current.
func (n *node) showClock(s clock.State) {
	n.status.Update(func(now *status.Status) { now.ClockSynchronised = s.Synchronised })
	if len(s.Problems) > 0 {
		n.status.Report("clock", strings.Join(s.Problems, "; "))
	} else {
		n.status.Clear("clock")
	}
}
