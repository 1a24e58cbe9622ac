package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
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
var rootModules = []string{"dm-mod", "dm-verity", "erofs"}

// diskPause is how long a disk has to appear before drivers for less likely
// ones are loaded: loading a driver that is not needed costs as much.
const diskPause = 250 * time.Millisecond

// Initramfs finds the slot that the kernel command line describes, makes its
// root the root of this process and executes the agent in it. It returns only
// if that failed.
func Initramfs(ctx context.Context) error {
	h := handover{KernelTime: uptime()}
	if _, err := mount.Apply(mount.Linux{}, "/", mount.InitramfsTable()); err != nil {
		return err
	}
	log, closeLog := kernelLog()
	defer closeLog()
	if err := openRoot(ctx, &h, log); err != nil {
		return err
	}
	if err := h.write(); err != nil {
		return err
	}
	if err := mount.SwitchRoot(sysroot); err != nil {
		return err
	}
	err := unix.Exec(RootInit, []string{RootInit}, os.Environ())
	return fmt.Errorf("start %s of slot %s: %w", RootInit, h.Slot, err)
}

// openRoot mounts the root of the slot at sysroot and fills in what it found.
func openRoot(ctx context.Context, h *handover, log *slog.Logger) error {
	params, err := commandLineParams()
	if err != nil {
		return err
	}
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
		_ = hotplug.Watch(ctx, listener, func(modules.Event) { tick(events) })
	})
	plugging.Go(func() {
		if err := hotplug.Coldplug(ctx); err != nil && ctx.Err() == nil {
			log.Error("drivers are missing", "err", err)
		}
	})
	// The root is changed for all threads: nothing may be loading then. Drivers
	// that were not needed are the root stage's to load.
	defer plugging.Wait()
	defer cancel()

	var loading errgroup.Group
	for _, name := range rootModules {
		loading.Go(func() error { return loader.Load(ctx, name) })
	}
	found, err := slot.Find(ctx, params, slot.Search{Events: events, BootPartUUID: bootPartUUID(ctx, loader)})
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
	readAhead(sysroot + RootInit)
	log.Info("root mounted", "slot", found.Letter, "partition", found.Partition.Node)
	h.Slot, h.Partition, h.Disk, h.DataDevice, h.Also = found.Letter, found.Partition, found.Disk, opened.DataDevice, found.Also
	return nil
}

// readAhead has the kernel read and verify a file in one go. Executing it would
// otherwise do so page by page, in the order in which the program runs.
func readAhead(name string) {
	file, err := os.Open(name)
	if err != nil {
		return // executing it will tell
	}
	defer file.Close()
	_ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_WILLNEED)
}

func commandLineParams() (verity.Params, error) {
	contents, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return verity.Params{}, err
	}
	return verity.FromCommandLine(string(contents))
}

// bootPartUUID asks the boot chain which partition it came from. Machines
// without UEFI do not say.
func bootPartUUID(ctx context.Context, loader *modules.Loader) string {
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

// kernelLog returns a logger that writes into the kernel's log, from where the
// root stage's ring takes it.
func kernelLog() (*slog.Logger, func()) {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	// One write is one record; the kernel adds time and level.
	var handler slog.Handler = slog.NewTextHandler(prefixed{kmsg}, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return slog.New(handler), func() { kmsg.Close() }
}

// prefixed puts the level and our name before each record.
type prefixed struct{ w io.Writer }

func (p prefixed) Write(record []byte) (int, error) {
	if _, err := p.w.Write(append([]byte("<6>skerry: "), record...)); err != nil {
		return 0, err
	}
	return len(record), nil
}

// tick wakes whoever waits on events, without waiting itself.
func tick(events chan<- struct{}) {
	select {
	case events <- struct{}{}:
	default:
	}
}
