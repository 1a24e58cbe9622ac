package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/agent/data"
	"github.com/skerry-os/skerry/agent/logring"
	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/status"
)

// preparation is that of data, which goes on beside the boot.
type preparation struct {
	modules chan struct{} // closed when modules can be loaded
	empty   chan struct{} // closed when it is known that data begins empty
	ended   chan struct{} // closed at the end; result and err are set
	result  data.Result
	err     error
}

func newPreparation() *preparation {
	return &preparation{modules: make(chan struct{}), empty: make(chan struct{}), ended: make(chan struct{})}
}

// run notes what becomes of the preparation.
func (p *preparation) run(prepare func() error) {
	defer close(p.ended)
	p.err = guarded(prepare)
}

// preparedDir is where data is mounted when it is ready, and until it is wanted.
const preparedDir = runDir + "/data"

// prepareData prepares data and mounts it at preparedDir. Only what needs a
// driver waits until modules can be loaded.
func (n *node) prepareData(ctx context.Context) (err error) {
	p := n.preparation
	options := data.Options{
		BootDisk:   n.Disk,
		Device:     data.Auto,
		MountPoint: preparedDir,
		Log:        n.log,
		Run:        n.reaper.Run,
		Progress:   func(text string) { n.console.Print("data: " + text) },
		Empty:      func() { close(p.empty) },
		System: dataSystem{data.Linux{Events: n.devices}, func() {
			<-p.modules
			n.load(ctx, dataModule)
		}},
	}
	if n.config != nil {
		options.Wipe = n.config.Storage.Data.Wipe
		if device := n.config.Storage.Data.Device; device != "" && device != data.Auto {
			options.Device = device
			<-p.modules
			n.settle(ctx) // its driver may not be loaded yet
		}
	} else {
		<-p.modules
		if node := n.findData(ctx); node != "" {
			options.Device = node
		}
	}
	p.result, err = data.Prepare(ctx, options)
	return err
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

// startPreparation prepares data in the background.
func (n *node) startPreparation(ctx context.Context) {
	p := newPreparation()
	n.preparation = p
	n.background("data", func() { p.run(func() error { return n.prepareData(ctx) }) })
	// What it mounts after the last look at the mounts would never be unmounted.
	n.closers.add(pid1.Hook{Name: "preparation of data", Run: func(ctx context.Context) error { return await(ctx, p.ended) }})
}

// beginData waits for data. But a file system that is only being made has
// nothing that a phase could read, and making it takes as long as all phases up
// to the services: memory stands in for it until [node.finishData].
func (n *node) beginData(ctx context.Context) (err error) {
	p := n.preparation
	select {
	case <-p.ended:
	case <-p.empty:
		if n.memory, err = dataInMemory(); err == nil {
			return nil
		}
		n.log.Warn("the boot waits for data", "err", err)
		<-p.ended
	}
	if p.err != nil {
		return errors.Join(p.err, onlyMemory())
	}
	return n.useData()
}

// finishData puts data that was being made in the place of memory, with what
// was written there.
func (n *node) finishData(ctx context.Context) error {
	if n.memory == nil {
		return nil
	}
	memory := n.memory
	n.memory = nil
	defer memory.Close()
	p := n.preparation
	if err := await(ctx, p.ended); err != nil {
		return err
	}
	if p.err != nil {
		return p.err // memory stays
	}
	if !p.result.Created {
		return errors.New("data was to be made and was there: restart") // and what is in memory must not replace it
	}
	if err := keep(memory, preparedDir); err != nil {
		return err
	}
	// Files in memory may be open.
	if err := unix.Unmount(dataDir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("take memory out of the place of data: %w", err)
	}
	return n.useData()
}

// useData brings prepared data to its place.
func (n *node) useData() error {
	if err := unix.Mount(preparedDir, dataDir, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("mount prepared data at %s: %w", dataDir, err), onlyMemory())
	}
	n.dataMounted = true
	if err := errors.Join(unix.Unmount(preparedDir, 0), os.Remove(preparedDir)); err != nil {
		n.log.Warn("data is mounted twice", "err", err)
	}
	prepared := n.preparation.result
	if prepared.Problem != "" {
		n.status.Report("data", prepared.Problem)
	}
	n.status.Update(func(s *status.Status) { s.Data = status.Data{Device: prepared.Device, Size: prepared.Bytes} })
	n.measureData()
	n.persistLog()
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

// dataInMemory has memory stand in for data, and returns that memory.
func dataInMemory() (*os.Root, error) {
	err := unix.Mount("tmpfs", dataDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=20%")
	if err != nil {
		return nil, fmt.Errorf("put memory in the place of data: %w", err)
	}
	memory, err := os.OpenRoot(dataDir)
	if err != nil {
		return nil, errors.Join(err, unix.Unmount(dataDir, 0))
	}
	return memory, nil
}

// onlyMemory has memory take the place of data for good, so that the node can
// still say what is wrong.
func onlyMemory() error {
	memory, err := dataInMemory()
	if err != nil {
		return err
	}
	return memory.Close()
}

// incomplete is the end of the name of a file that is being copied.
const incomplete = ".new"

// keep copies the files of memory into dir. After a power cut each is there as a
// whole or not at all.
func keep(memory *os.Root, dir string) error {
	files, err := copyFiles(memory, dir)
	if err == nil {
		err = syncFileSystem(dir)
	}
	for _, name := range files {
		if err == nil {
			err = os.Rename(name+incomplete, name)
		}
	}
	if err == nil {
		err = syncFileSystem(dir)
	}
	if err != nil {
		return fmt.Errorf("keep on data what was in memory: %w", err)
	}
	return nil
}

// copyFiles copies folders, and files under names of incomplete ones. It returns
// the names that these are to have.
func copyFiles(memory *os.Root, dir string) (files []string, err error) {
	err = fs.WalkDir(memory.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was temporary
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if entry.IsDir() {
			return os.Mkdir(to, info.Mode().Perm())
		}
		if strings.HasPrefix(entry.Name(), ".") || strings.HasSuffix(name, incomplete) {
			return nil // somebody is about to give it its name
		}
		contents, err := memory.ReadFile(name)
		if err != nil {
			return err
		}
		files = append(files, to)
		return writeFile(to+incomplete, contents, info.Mode().Perm())
	})
	return files, err
}

// writeFile makes a file with a mode that no mask changes.
func writeFile(name string, contents []byte, mode fs.FileMode) error {
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = w.Write(contents)
	return errors.Join(err, w.Chmod(mode), w.Close())
}

func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
