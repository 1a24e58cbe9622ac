package stage

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/mount"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/nodeconfig"
)

// What is mounted with modules. The kernel would ask for them itself, through a
// program: loading them here is quicker.
const (
	overlayModule = "overlay"
	dataModule    = "ext4"
)

// modprobe is the name of the agent by which the kernel has it load a module.
const modprobe = "/sbin/modprobe"

// mounts makes the file systems of a node: those in memory, and data if it has
// been made before. It begins to load drivers, which take longest on a slow
// machine. Data is prepared meanwhile, for that is mostly waiting for its disk.
func (n *node) mounts(ctx context.Context) error {
	if n.bootConfigErr = guarded(n.readBootConfig); n.bootConfigErr != nil {
		n.bootConfig, n.config = nil, nil
	}
	n.startPreparation(ctx)
	if err := guarded(n.startModules); err != nil {
		// File systems may be built in: what is wrong shows below.
		n.status.Report("modules", err.Error())
	}
	close(n.preparation.modules)
	err := errors.Join(guarded(func() error { return n.mountMemory(ctx) }), guarded(n.beginData))
	if err != nil && ctx.Err() != nil {
		return err // it is not wanted any more
	}
	return errors.Join(err, n.loadIdentity())
}

// mountMemory makes the file systems in memory.
func (n *node) mountMemory(ctx context.Context) error {
	n.load(ctx, overlayModule)
	results, err := mount.Apply(mount.Linux{}, "/", mount.RootTable())
	// From now on drivers may ask the kernel for others.
	err = errors.Join(err, setModprobe(modprobe))
	for _, r := range results {
		if r.Outcome == mount.Failed {
			n.log.Warn("mount failed", "step", r.Step.String(), "err", r.Err)
		}
	}
	return err
}

// startModules opens the way for drivers. The mounts' modules and those of the
// machine's devices are loaded in the background.
func (n *node) startModules() error {
	system, err := modules.Running()
	if err != nil {
		return err
	}
	if n.loader, err = modules.NewLoader(system, nil, n.log); err != nil {
		return err
	}
	n.hotplug = &modules.Hotplug{Loader: n.loader, Log: n.log, Wanted: n.wanted, WantedBus: n.wantedBus}
	listener, err := modules.Listen()
	if err != nil {
		return err
	}
	n.background("devices", func() {
		defer listener.Close()
		err := n.hotplug.Watch(n.life, listener, func(modules.Event) { tick(n.devices) })
		if n.life.Err() == nil {
			n.status.Report("devices", fmt.Sprintf("devices that appear from now on are not noticed: %v", err))
		}
	})
	for _, name := range []string{dataModule, overlayModule} {
		n.background("modules", func() { n.load(n.life, name) })
	}
	n.plugged.Add(1)
	n.background("modules", func() {
		defer n.plugged.Done()
		n.coldplug(n.life)
	})
	return nil
}

// load loads a module, or waits for its load that is under way. It may be built
// in, or missing: who needs it will tell.
func (n *node) load(ctx context.Context, name string) {
	if n.loader == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, driversWait)
	defer cancel()
	if err := n.loader.Load(ctx, name); err != nil {
		n.log.Warn("module not loaded", "module", name, "err", err)
	}
}

// readBootConfig reads the node config from partition boot. What is wrong with
// it is for the config phase to tell.
func (n *node) readBootConfig() error {
	contents, err := n.configOnBoot()
	if err != nil {
		return err
	}
	config, err := nodeconfig.Parse(nodeconfig.FileName, contents)
	if err != nil {
		return err
	}
	n.bootConfig, n.config = contents, config
	return nil
}

// loadIdentity reads who the node is. Without data it is somebody else at each
// boot.
func (n *node) loadIdentity() (err error) {
	if n.identity, err = identity.Load(stateDir); err != nil {
		return err
	}
	for _, note := range n.identity.Notes {
		n.status.Report("identity", note)
	}
	n.status.Update(func(s *status.Status) { s.NodeID, s.Boot = n.identity.MachineID, n.identity.Boots })
	return nil
}
