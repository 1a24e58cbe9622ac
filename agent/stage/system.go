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
	"github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/agent/sysctl"
	"github.com/skerry-os/skerry/agent/watchdog"
	"github.com/skerry-os/skerry/strictyaml"
)

// system sets the kernel's parameters and makes the hierarchy of groups.
func (n *node) system(context.Context) error {
	settings, err := sysctl.Merge(sysctl.Defaults(), n.config.Kernel.Sysctls)
	if err != nil {
		return err
	}
	result, err := sysctl.Apply(sysctl.Dir, settings)
	// What is missing may belong to modules that are loaded later.
	for _, s := range settings {
		if slices.Contains(result.Missing, s.Key) {
			n.lateSettings = append(n.lateSettings, s)
		}
	}
	return err
}

// lateSystem completes the kernel once the node is up: with the modules that
// nothing asks for, and the parameters that come with these.
func (n *node) lateSystem(ctx context.Context) {
	if n.loader == nil {
		return
	}
	for _, name := range namedModules {
		if err := n.loader.Load(ctx, name); err != nil {
			n.log.Warn("module not loaded", "module", name, "err", err)
		}
	}
	result, err := sysctl.Apply(sysctl.Dir, n.lateSettings)
	if err != nil {
		n.status.Report("system", err.Error())
	}
	if len(result.Missing) > 0 {
		n.log.Info("the kernel lacks parameters", "keys", strings.Join(result.Missing, " "))
	}
}

// startWatchdog arms the hardware watchdog. A machine without one is shown as
// such and is no failure.
func (n *node) startWatchdog(ctx context.Context) error {
	show := func(text string) { n.status.Update(func(s *status.Status) { s.Watchdog = text }) }
	path, err := watchdog.Choose("/dev", "/sys/class/watchdog")
	if errors.Is(err, watchdog.ErrAbsent) {
		show("absent")
		return nil
	}
	if err != nil {
		return err
	}
	device, err := watchdog.Open(path)
	if err != nil {
		return err
	}
	feeder, err := watchdog.NewFeeder(device, watchdog.Timeout, n.log, n.status)
	feeder.Register(idleLoop, idleBound)
	go feeder.Run(ctx)
	n.feeder.Store(feeder)
	show(feeder.String())
	return err
}

// The agent's own loop, which the watchdog's feeding depends on.
const (
	idleLoop  = "idle"
	idleEvery = 5 * time.Second
	// idleBound covers the boot's own phases, which run before the loop.
	idleBound = 3 * time.Minute
)

// serviceWait is how long a boot waits for its services before it goes on.
const serviceWait = 2 * time.Minute

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
	if err := n.supervisor.Start(ctx); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, serviceWait)
	defer cancel()
	return n.supervisor.WaitReady(wait)
}

// showService keeps the status of one service current.
func (n *node) showService(changed service.Status) {
	if changed.LastError != "" {
		n.status.Report("service "+changed.Name, changed.LastError)
	} else {
		n.status.Clear("service " + changed.Name)
	}
	shown := status.Service{Name: changed.Name, State: changed.State.String(), Status: changed.Text}
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

// checkTrial tells whether this boot decides about the release.
func (n *node) checkTrial(context.Context) error {
	if _, err := os.Stat(efivars); err != nil {
		return nil // no boot chain that the agent knows
	}
	uefi := slot.UEFI{
		Boot:      bootDir,
		Variables: slot.Variables(efivars),
		Running:   slot.Slot{Letter: n.Slot, Version: n.release.version},
	}
	_, trial, err := uefi.Booted()
	if err != nil {
		return err
	}
	n.status.Update(func(s *status.Status) { s.Trial = trial })
	return nil
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
