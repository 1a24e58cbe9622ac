package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/data"
	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/logring"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/mount"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/nodeconfig"
)

// mountModules are the file systems of the mounts phase. The kernel would ask
// for them itself, through a program: loading them here is quicker.
var mountModules = []string{"overlay", "ext4", "vfat", "nls_cp437", "nls_ascii"}

// mounts makes the file systems of a node: those in memory, boot and data. It
// also begins to load drivers, which takes longest on a slow machine.
func (n *node) mounts(ctx context.Context) error {
	if err := n.startModules(ctx); err != nil {
		// File systems may be built in: what is wrong shows below.
		n.status.Report("modules", err.Error())
	}
	results, err := mount.Apply(mount.Linux{}, "/", mount.RootTable())
	if err != nil {
		n.bootConfigErr = err
		return err
	}
	for _, r := range results {
		if r.Outcome == mount.Failed {
			n.log.Warn("mount failed", "step", r.Step.String(), "err", r.Err)
		}
	}
	n.readBootConfig()
	if err := n.mountData(ctx); err != nil {
		return errors.Join(err, dataInMemory(), n.loadIdentity())
	}
	n.persistLog(ctx)
	return n.loadIdentity()
}

// startModules opens the way for drivers and loads what the mounts need; the
// machine's devices get theirs in the background.
func (n *node) startModules(ctx context.Context) error {
	system, err := modules.Running()
	if err != nil {
		return err
	}
	if n.loader, err = modules.NewLoader(system, nil, n.log); err != nil {
		return err
	}
	n.hotplug = &modules.Hotplug{Loader: n.loader, Log: n.log, Wanted: n.wanted}
	listener, err := modules.Listen()
	if err != nil {
		return err
	}
	go func() {
		defer listener.Close()
		_ = n.hotplug.Watch(ctx, listener, func(modules.Event) { tick(n.devices) })
	}()
	var loading sync.WaitGroup
	for _, name := range mountModules {
		loading.Go(func() {
			if err := n.loader.Load(ctx, name); err != nil {
				n.log.Warn("module not loaded", "module", name, "err", err)
			}
		})
	}
	n.plugged.Go(func() { n.coldplug(ctx) })
	loading.Wait()
	return nil
}

// readBootConfig mounts partition boot for reading and takes the node config
// from it. What is wrong with it is for the config phase to tell.
func (n *node) readBootConfig() {
	contents, err := n.readBoot()
	if err != nil {
		n.bootConfigErr = err
		return
	}
	config, err := nodeconfig.Parse(nodeconfig.FileName, contents)
	if err != nil {
		n.bootConfigErr = err
		return
	}
	n.bootConfig, n.config = contents, config
}

// mountData prepares data and what is kept on it.
func (n *node) mountData(ctx context.Context) error {
	options := data.Options{
		BootDisk:   n.Disk,
		Device:     data.Auto,
		MountPoint: dataDir,
		Log:        n.log,
		Run:        n.reaper.Run,
		Progress:   func(text string) { n.console.Print("data: " + text) },
		System:     data.Linux{Events: n.devices},
	}
	if n.config != nil {
		options.Wipe = n.config.Storage.Data.Wipe
		if device := n.config.Storage.Data.Device; device != "" && device != data.Auto {
			options.Device = device
			n.settle(ctx) // its driver may not be loaded yet
		}
	} else if node := n.findData(ctx); node != "" {
		options.Device = node
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
func (n *node) persistLog(ctx context.Context) {
	ctx, n.stopLog = context.WithCancel(ctx)
	n.persisting.Go(func() {
		if err := n.ring.Persist(ctx, logring.Persistence{Dir: logDir}); err != nil && ctx.Err() == nil {
			n.status.Report("log", fmt.Sprintf("the log is not kept on data: %v", err))
		}
	})
}

// dataInMemory stands in for data, so that the node can still say what is wrong.
func dataInMemory() error {
	err := unix.Mount("tmpfs", dataDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=20%")
	if err != nil {
		return fmt.Errorf("put memory in the place of data: %w", err)
	}
	return nil
}

// readBoot mounts partition boot of the slot's disk and reads the node config.
// It returns nothing if there is none.
func (n *node) readBoot() ([]byte, error) {
	devices, err := blockdev.Sysfs{}.Scan()
	if err != nil {
		return nil, err
	}
	for _, d := range blockdev.PartitionsOf(devices, n.Disk.Name) {
		if d.PartName != "boot" && d.Partition != 1 {
			continue
		}
		flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
		if err := unix.Mount(d.Node, bootDir, "vfat", flags, "fmask=0177,dmask=0077"); err != nil {
			return nil, fmt.Errorf("mount partition boot, %s: %w", d, err)
		}
		return readConfigFile(bootDir + "/" + nodeconfig.FileName)
	}
	return nil, fmt.Errorf("disk %s has no partition boot", n.Disk.Node)
}
