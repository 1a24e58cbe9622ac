package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/agent/cgroup"
	"github.com/skerry-os/skerry/agent/power"
	"github.com/skerry-os/skerry/agent/service"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/sysctl"
	"github.com/skerry-os/skerry/agent/watchdog"
	"github.com/skerry-os/skerry/strictyaml"
)

// system sets the kernel's parameters and makes the hierarchy of groups.
func (n *node) system(context.Context) error {
	settings, mergeErr := sysctl.Merge(sysctl.Defaults(), n.config.Kernel.Sysctls)
	if mergeErr != nil {
		settings = sysctl.Defaults() // without these a node is not safe
	}
	result, err := sysctl.Apply(sysctl.Dir, settings)
	// What is missing may belong to modules that are loaded later.
	var missing []sysctl.Setting
	for _, s := range settings {
		if slices.Contains(result.Missing, s.Key) {
			missing = append(missing, s)
		}
	}
	n.missing.Store(&missing)
	return errors.Join(mergeErr, err)
}

// lateSettings sets the parameters that the kernel did not have before.
func (n *node) lateSettings() {
	missing := n.missing.Load()
	if missing == nil {
		return // the phase is still to come, or failed
	}
	result, err := sysctl.Apply(sysctl.Dir, *missing)
	if err != nil {
		n.status.Report("system", err.Error())
	}
	if len(result.Missing) > 0 {
		n.log.Info("the kernel lacks parameters", "keys", strings.Join(result.Missing, " "))
	}
}

// startWatchdog arms the hardware watchdog. A machine without one is shown as
// such and is no failure.
func (n *node) startWatchdog(context.Context) error {
	n.arming.Lock()
	defer n.arming.Unlock()
	if n.feeder.Load() != nil {
		return nil
	}
	show := func(text string) { n.status.Update(func(s *status.Status) { s.Watchdog = text }) }
	path, err := watchdog.Choose("/dev", "/sys/class/watchdog")
	if errors.Is(err, watchdog.ErrAbsent) {
		show("absent")
		return nil
	}
	if err != nil {
		return err
	}
	if n.leaving.Load() {
		return nil
	}
	device, err := watchdog.Open(path)
	if err != nil {
		return err
	}
	feeder, err := watchdog.NewFeeder(device, watchdog.Timeout, n.log, n.status)
	feeder.Register(idleLoop, idleBound)
	feeder.Register(bootLoop, bootBound)
	n.background("watchdog", func() { feeder.Run(n.life) })
	n.feeder.Store(feeder)
	if n.bootEnded(0) {
		feeder.Unregister(bootLoop)
	}
	if n.leaving.Load() {
		feeder.Shutdown(watchdog.ShutdownTimeout)
	}
	show(feeder.String())
	return err
}

// lateWatchdog arms a watchdog whose driver has come only now, and the kernel's
// own where the machine has none: that one at least notices an agent that hangs.
func (n *node) lateWatchdog(ctx context.Context) {
	for _, module := range []string{"", "softdog"} {
		if n.feeder.Load() != nil {
			return
		}
		if module != "" {
			n.load(ctx, module)
		}
		if err := n.startWatchdog(ctx); err != nil {
			n.status.Report("watchdog", err.Error())
		} else {
			n.status.Clear("watchdog")
		}
	}
}

// The agent's own loops, which the watchdog's feeding depends on.
const (
	// The boot is alive at the end of each phase. The longest waits for services.
	bootLoop  = "boot"
	bootBound = serviceWait + time.Minute

	idleLoop  = "idle"
	idleEvery = 5 * time.Second
	// idleBound leaves the loop time for a disk that takes long to say how full it is.
	idleBound = time.Minute
)

// serviceWait is how long a boot waits for its services before it goes on. A
// cluster's first start takes half a minute on a small board.
const serviceWait = 5 * time.Minute

// startServices starts what the image lists and waits until all is ready.
func (n *node) startServices(ctx context.Context) error {
	specs, err := readServices(servicesDir)
	if err != nil {
		return err
	}
	groups, missing, err := cgroup.Setup(cgroup.DefaultRoot)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		n.status.Report("cgroup", "the kernel lacks "+strings.Join(missing, ", ")+": services run without these limits")
	}
	n.supervisor, err = service.New(specs, service.Options{
		Log: n.log, Ring: n.ring, Starter: n.reaper, Cgroups: groups, NotifyDir: notifyDir, OnChange: n.showService,
	})
	if err != nil {
		return err
	}
	if err := n.supervisor.Start(n.life); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, serviceWait)
	defer cancel()
	return n.waitReady(wait)
}

// waitReady waits until all services are ready, which is not the agent's time.
func (n *node) waitReady(ctx context.Context) error {
	defer func(began time.Duration) { n.serviceWait += uptime() - began }(uptime())
	return n.supervisor.WaitReady(ctx)
}

// showService keeps the status of one service current.
func (n *node) showService(changed service.Status) {
	if changed.LastError != "" {
		n.status.Report("service "+changed.Name, changed.LastError)
	} else {
		n.status.Clear("service " + changed.Name)
	}
	shown := status.Service{Name: changed.Name, State: changed.State.String(), Status: changed.Text, Main: changed.Main}
	n.status.Update(func(s *status.Status) {
		services := make([]status.Service, 0, len(s.Services)+1)
		found := false
		for _, other := range s.Services {
			if other.Name == shown.Name {
				other, found = shown, true
			}
			services = append(services, other)
		}
		if !found {
			services = append(services, shown)
		}
		s.Services = services
	})
}

// readServices reads the services of an image, one a file.
func readServices(dir string) ([]service.Spec, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var specs []service.Spec
	for _, name := range names {
		contents, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var spec service.Spec
		if _, err := strictyaml.Decode(name, contents, &spec); err != nil {
			return nil, fmt.Errorf("service description: %w", err)
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// watchPower turns a press of the power button into a request.
func (n *node) watchPower(ctx context.Context, pressed chan<- struct{}) {
	watcher := power.NewWatcher("/dev/input", func(device string) {
		n.log.Info("power button pressed", "device", device)
		tick(pressed)
	}, n.log)
	if err := watcher.Run(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("the power button is not watched", "err", err)
	}
}
