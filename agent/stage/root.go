package stage

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/clock"
	"github.com/skerry-os/skerry/agent/console"
	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/logring"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/network"
	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/service"
	"github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/sysctl"
	"github.com/skerry-os/skerry/agent/watchdog"
	"github.com/skerry-os/skerry/nodeconfig"
)

// node is the running node: what the phases made so far. A part whose phase
// failed is nil or zero, and later phases do without.
type node struct {
	origin
	release osRelease
	// life is the context of what goes on when the boot is over. A phase's own
	// context ends when the node is to go down before it is up.
	life   context.Context
	booted chan struct{} // closed when the phases are over

	ring    *logring.Ring
	log     *slog.Logger
	status  *status.Recorder
	console *console.Console
	reaper  *pid1.Reaper

	loader  *modules.Loader
	hotplug *modules.Hotplug
	devices chan struct{} // ticks when the kernel announced a device
	plugged sync.WaitGroup
	late    sync.Once  // see lateWork
	arming  sync.Mutex // of the watchdog
	// settled says that drivers are loaded for all devices, not for urgent ones only.
	settled atomic.Bool

	partitionBoot *boot // open between the first and the last phase
	// bootConfig is what partition boot has: its bytes, and what is wrong.
	bootConfig    []byte
	bootConfigErr error
	config        *nodeconfig.Config
	hostname      string

	preparation *preparation // of data
	standIn     bool         // this boot began with memory in the place of data
	dataMounted bool
	identity    identity.Identity
	closers     closers

	missing     atomic.Pointer[[]sysctl.Setting] // parameters the kernel did not have yet
	network     *network.Network
	networkWait time.Duration
	// networkAsked says that the network had its time: from then on what is
	// wrong with it is a problem.
	networkAsked atomic.Bool
	clock        *clock.Clock
	leaving      atomic.Bool                     // the node goes down
	feeder       atomic.Pointer[watchdog.Feeder] // nil until the watchdog is armed
	supervisor   *service.Supervisor
	serviceWait  time.Duration
}

// root brings the node up, keeps it running until it is asked to go down, and
// takes it down. It returns only if the machine could not be restarted.
func root(ctx context.Context, from origin) error {
	n := &node{
		origin: from, life: ctx, devices: make(chan struct{}, 1), booted: make(chan struct{}),
		bootConfigErr: errors.New("partition boot was not read"),
	}
	var err error
	n.release, err = readOSRelease("/usr/lib/os-release")
	if err != nil {
		return err
	}
	n.startLog()
	n.startConsole(ctx)
	requests := n.startInit(ctx)
	n.log.Info("root stage", "release", n.release.version, "slot", n.Slot, "partition", n.Partition.Node)

	// A person who wants the node to go down during its boot is heard.
	boot, abandon := context.WithCancel(ctx)
	defer abandon()
	n.background("boot", func() {
		defer n.bootOver()
		n.runPhases(boot, n.phases())
		if boot.Err() == nil {
			n.background("boot", func() { n.nodeUp(boot) })
		}
	})
	// A boot that takes long is one with trouble: buttons and keys should work.
	time.AfterFunc(lateAfter, func() { n.background("modules", func() { n.lateWork(boot) }) })
	return n.idle(ctx, abandon, requests)
}

const noDataAdvice = "the node has no data until this is mended"

func (n *node) phases() []phase {
	return []phase{
		{"mounts", n.mounts, noDataAdvice},
		{"config", n.applyConfig, "correct skerry.yaml on partition boot and restart"},
		{"modules", n.modules, "this release may lack a driver for this machine"},
		{"system", n.system, "see the log"},
		{"network", n.startNetwork, "check the cable and the network settings in skerry.yaml"},
		{"clock", n.startClock, "name a time server that can be reached: network.ntp in skerry.yaml"},
		{"watchdog", n.startWatchdog, "see the log"},
		{"storage", n.finishData, noDataAdvice},
		{"services", n.startServices, "see the log of the services that are not ready"},
		{"trial", n.checkTrial, "see the log"},
	}
}

// startLog opens the ring and begins to follow the kernel's log.
func (n *node) startLog() {
	n.ring = logring.New(logring.DefaultBytes)
	n.log = slog.New(n.ring.Handler("agent", logLevel()))
	n.status = status.NewRecorder(time.Now)
}

// watchRoot reports what dm-verity refuses to read.
func (n *node) watchRoot(line string) {
	corrupt, ok := slot.ParseCorruption(line)
	if ok && corrupt.Device == n.DataDevice {
		n.status.Report("root", corrupt.Problem(n.Slot))
	}
}

// startConsole shows the node on every console.
func (n *node) startConsole(ctx context.Context) {
	n.status.Update(func(s *status.Status) {
		s.Release, s.Board, s.Slot = n.release.version, n.release.board, string(n.Slot)
		s.KernelTime = n.KernelTime
	})
	tail := func(lines int) []string {
		entries := n.ring.Tail("", lines)
		text := make([]string, len(entries))
		for i, e := range entries {
			text[i] = e.Source + ": " + e.Text
		}
		return text
	}
	n.console = console.New(console.Options{Status: n.status, Tail: tail, Log: n.log})
	n.console.Open(ctx, console.Find("/sys/class/tty/console/active", "/dev"))
	go n.console.Run(ctx)
	follower := n.ring.Subscribe(ctx)
	go func() {
		for entry := range follower.Entries() {
			n.console.Refresh()
			if entry.Source == "kernel" {
				n.watchRoot(entry.Text)
			}
		}
	}()
	go func() {
		if err := n.ring.ReadKernel(ctx, "/dev/kmsg"); err != nil && ctx.Err() == nil {
			n.log.Warn("the kernel's log is not followed", "err", err)
		}
	}()
}

// startInit takes over the duties of a first process.
func (n *node) startInit(ctx context.Context) <-chan pid1.Request {
	requests := pid1.Requests(ctx)
	n.reaper = pid1.NewReaper(n.log)
	go n.reaper.Reap(ctx)
	if err := pid1.DisableCtrlAltDel(pid1.Kernel()); err != nil {
		n.log.Warn("Ctrl-Alt-Del restarts without shutting down", "err", err)
	}
	if err := pid1.RaiseOpenFiles(1 << 20); err != nil {
		n.log.Warn("the limit of open files stays low", "err", err)
	}
	// The node outlives any pod: the kernel never kills its agent for memory.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		n.log.Warn("the agent is not safe from the out-of-memory killer", "err", err)
	}
	unix.Umask(0o022)
	return requests
}

// osRelease is what the root says of itself; see os-release(5).
type osRelease struct {
	version   string
	board     string
	buildTime time.Time
}

func readOSRelease(name string) (osRelease, error) {
	var r osRelease
	contents, err := os.ReadFile(name)
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(contents)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		switch key {
		case "VERSION_ID":
			r.version = value
		case "VARIANT_ID":
			r.board = value
		case "SKERRY_BUILD_TIME":
			if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
				r.buildTime = time.Unix(seconds, 0)
			}
		}
	}
	return r, nil
}
