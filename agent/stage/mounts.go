package stage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/data"
	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/logring"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/mount"
	"github.com/skerry-os/skerry/agent/pid1"
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

// mounts makes the file systems of a node: those in memory, and data. It begins
// to load drivers, which take longest on a slow machine. Data is prepared
// meanwhile, for that is mostly waiting for its disk.
func (n *node) mounts(ctx context.Context) error {
	if n.bootConfigErr = guarded(n.readBootConfig); n.bootConfigErr != nil {
		n.bootConfig, n.config = nil, nil
	}
	data := make(chan error, 1)
	modulesStarted := make(chan struct{})
	go func() {
		data <- guarded(func() error { return n.mountData(ctx, modulesStarted) })
	}()
	if err := guarded(n.startModules); err != nil {
		// File systems may be built in: what is wrong shows below.
		n.status.Report("modules", err.Error())
	}
	close(modulesStarted)
	err := errors.Join(guarded(func() error { return n.mountMemory(ctx) }), <-data)
	if err != nil && ctx.Err() != nil {
		return err // it is not wanted any more
	}
	if n.dataMounted {
		n.persistLog()
	} else {
		err = errors.Join(err, dataInMemory())
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

// mountData prepares data and mounts it. Only what needs a driver waits until
// modules can be loaded.
func (n *node) mountData(ctx context.Context, modulesStarted <-chan struct{}) error {
	options := data.Options{
		BootDisk:   n.Disk,
		Device:     data.Auto,
		MountPoint: dataDir,
		Log:        n.log,
		Run:        n.reaper.Run,
		Progress:   func(text string) { n.console.Print("data: " + text) },
		System: dataSystem{data.Linux{Events: n.devices}, func() {
			<-modulesStarted
			n.load(ctx, dataModule)
		}},
	}
	if n.config != nil {
		options.Wipe = n.config.Storage.Data.Wipe
		if device := n.config.Storage.Data.Device; device != "" && device != data.Auto {
			options.Device = device
			<-modulesStarted
			n.settle(ctx) // its driver may not be loaded yet
		}
	} else {
		<-modulesStarted
		if node := n.findData(ctx); node != "" {
			options.Device = node
		}
	}
	result, err := data.Prepare(ctx, options)
	if err != nil {
		return err
	}
	n.dataMounted = true
	if result.Problem != "" {
		n.status.Report("data", result.Problem)
	}
	n.status.Update(func(s *status.Status) { s.Data = status.Data{Device: result.Device, Size: result.Bytes} })
	n.measureData()
	return nil
}

// dataSystem is the running kernel, whose file system for data may still be on
// its way.
type dataSystem struct {
	data.Linux
	loadFileSystem func()
}

// Mount implements [data.System].
func (s dataSystem) Mount(node, dir string) error {
	s.loadFileSystem()
	return s.Linux.Mount(node, dir)
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

// findData looks for data on any disk. A node whose config cannot be read does
// not know where its data was told to be, and must not begin anew elsewhere.
func (n *node) findData(ctx context.Context) string {
	n.settle(ctx)
	devices, err := blockdev.Sysfs{}.Scan()
	if err != nil {
		return ""
	}
	// That of the boot disk comes first, which data.Auto stands for.
	elsewhere := ""
	for _, d := range devices {
		if !holdsData(d) {
			continue
		}
		if d.Parent == n.Disk.Name {
			return data.Auto
		}
		elsewhere = d.Node
	}
	return elsewhere
}

func holdsData(d blockdev.Device) bool {
	file, err := os.Open(d.Node)
	if err != nil {
		return false
	}
	defer file.Close()
	content, err := blockdev.Probe(file, d.SizeBytes)
	return err == nil && content.Label == data.Label
}

// measureData keeps the status of data's free room current.
func (n *node) measureData() {
	if !n.dataMounted {
		return
	}
	room, err := data.MeasureRoom(dataDir)
	if err != nil {
		n.status.Report("data", err.Error())
		return
	}
	n.status.Update(func(s *status.Status) { s.Data.Size, s.Data.Used = room.Total, room.Used })
	if problem := room.Problem(); problem != "" {
		n.status.Report("data space", problem)
	} else {
		n.status.Clear("data space")
	}
}

// persistLog keeps the log on data from now on.
func (n *node) persistLog() {
	ctx, stop := context.WithCancel(n.life)
	done := make(chan struct{})
	n.background("log", func() {
		defer close(done)
		if err := n.ring.Persist(ctx, logring.Persistence{Dir: logDir}); err != nil && ctx.Err() == nil {
			n.status.Report("log", fmt.Sprintf("the log is not kept on data: %v", err))
		}
	})
	n.closers.add(pid1.Hook{Name: "log", Run: func(ctx context.Context) error {
		stop()
		return await(ctx, done)
	}})
}

// dataInMemory stands in for data, so that the node can still say what is wrong.
func dataInMemory() error {
	err := unix.Mount("tmpfs", dataDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=20%")
	if err != nil {
		return fmt.Errorf("put memory in the place of data: %w", err)
	}
	return nil
}
