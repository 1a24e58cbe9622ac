package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/dm"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/mount"
	"github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/verity"
)

// sysroot is where the initramfs stage mounts the root.
const sysroot = "/sysroot"

// rootModules are what opening and mounting a slot takes. No device asks for
// them, so they are loaded by name.
//
// dm-verity takes the best SHA-256 that is there when it opens the slot, and the
// one in the kernel is that without instructions for it.
var rootModules = []string{"crypto-sha256", "dm-mod", "dm-verity", "erofs"}

// diskPause is how long a disk has to appear before drivers for less likely
// ones are loaded: loading a driver that is not needed costs as much.
const diskPause = 250 * time.Millisecond

// efivarsWait bounds a driver that hangs in the firmware.
const efivarsWait = 5 * time.Second

// pluggingWait is how long a driver that is being loaded may hold up the root
// once it is mounted.
const pluggingWait = 20 * time.Second

// initramfs finds the slot that the kernel command line describes and makes its
// root the root of this process.
func initramfs(ctx context.Context) (origin, error) {
	var from origin
	if _, err := mount.Apply(mount.Linux{}, "/", mount.InitramfsTable()); err != nil {
		return from, err
	}
	if err := setModprobe(""); err != nil {
		return from, err
	}
	from.KernelTime = execTime()
	log, closeLog := kernelLog()
	defer closeLog()
	if err := openRoot(ctx, &from, log); err != nil {
		return from, err
	}
	return from, mount.SwitchRoot(sysroot)
}

// openRoot mounts the root of the slot at sysroot and fills in what it found.
func openRoot(ctx context.Context, from *origin, log *slog.Logger) error {
	commandLine, err := os.ReadFile(commandLineFile)
	if err != nil {
		return err
	}
	params, err := verity.FromCommandLine(string(commandLine))
	if err != nil {
		return err
	}
	// What is wrong with this is told when the boot chain is asked.
	booted, _, _, _ := slot.BootedByUBoot(string(commandLine))
	system, err := modules.Running()
	if err != nil {
		return err
	}
	loader, err := modules.NewLoader(system, nil, log)
	if err != nil {
		return err
	}
	// The socket comes before the first look at sysfs: no device is missed.
	listener, err := modules.Listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(ctx)
	hotplug := &modules.Hotplug{Loader: loader, Rank: diskRank, Pause: diskPause, Log: log}
	events := make(chan struct{}, 1)
	var plugging sync.WaitGroup
	plugging.Go(func() {
		err := hotplug.Watch(ctx, listener, func(modules.Event) { tick(events) })
		if ctx.Err() == nil {
			log.Error("devices that appear from now on are not noticed", "err", err)
		}
	})
	plugging.Go(func() {
		if err := hotplug.Coldplug(ctx); err != nil && ctx.Err() == nil {
			log.Error("drivers are missing", "err", err)
		}
	})
	// The root is changed for all threads: nothing should be loading then. Drivers
	// that were not needed are the root stage's to load.
	defer func() {
		cancel()
		if !ended(&plugging, pluggingWait) {
			log.Error("a driver does not end its start: going on without it")
		}
	}()

	var loading errgroup.Group
	for _, name := range rootModules {
		loading.Go(func() error { return loader.Load(ctx, name) })
	}
	bootPart := sync.OnceValue(func() string { return bootPartUUID(ctx, loader) })
	go bootPart() // it is asked for later
	found, err := slot.Find(ctx, params, slot.Search{Events: events, BootPartUUID: bootPart, Booted: booted})
	if err != nil {
		return err
	}
	if err := loading.Wait(); err != nil {
		return err
	}
	control, err := dm.Open("/dev")
	if err != nil {
		return err
	}
	defer control.Close()
	opened, err := slot.Open(control, found, params)
	if err != nil {
		return err
	}
	if err := unix.Mount(opened.Node, sysroot, "erofs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount the root of slot %s on %s: %w", found.Letter, found.Partition.Node, err)
	}
	if err := shareProgram(); err != nil {
		log.Warn("the agent is in memory twice", "err", err)
	}
	log.Info("root mounted", "slot", found.Letter, "partition", found.Partition.Node)
	from.Slot, from.Partition, from.Disk, from.DataDevice, from.Also = found.Letter, found.Partition, found.Disk, opened.DataDevice, found.Also
	return nil
}

// shareProgram puts the initramfs's copy of the agent over the one in the root,
// which is the same: process 1 runs from it, so it is in memory, and the agent's
// helpers need not read and verify another. Its bytes are the boot loader's to trust,
// as those of the kernel are.
func shareProgram() error {
	at := sysroot + program
	if err := unix.Mount("/init", at, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// setModprobe says which program the kernel starts when it wants a module. The
// agent loads what its mounts need: until these are done the kernel is to start
// none, which takes longer than most modules.
func setModprobe(program string) error {
	return os.WriteFile("/proc/sys/kernel/modprobe", []byte(program+"\n"), 0)
}

// bootPartUUID asks the boot chain which partition it came from. Machines
// without UEFI do not say.
func bootPartUUID(ctx context.Context, loader *modules.Loader) string {
	ctx, cancel := context.WithTimeout(ctx, efivarsWait)
	defer cancel()
	if _, err := os.Stat(efivars); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err := loader.Load(ctx, "efivarfs"); err != nil {
		return ""
	}
	if err := unix.Mount("efivarfs", efivars, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return ""
	}
	id, err := slot.Variables(efivars).BootPartUUID()
	if err != nil {
		return ""
	}
	return id
}

// tick wakes whoever waits on events, without waiting itself.
func tick(events chan<- struct{}) {
	select {
	case events <- struct{}{}:
	default:
	}
}

// ended waits for a group, for at most d, and tells whether it has ended.
func ended(group *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}
