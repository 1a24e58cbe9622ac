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
	"github.com/skerry-os/skerry/agent/wholefile"
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
	go p.run(func() error { return n.prepareData(ctx) })
	// What it mounts after the last look at the mounts would never be unmounted.
	n.closers.add(pid1.Hook{Name: "preparation of data", Run: func(ctx context.Context) error { return await(ctx, p.ended) }})
}

// beginData waits for data. But a file system that is only being made has
// nothing that a phase could read, and making it takes as long as all phases up
// to the services: memory stands in for it until [node.finishData].
func (n *node) beginData() error {
	p := n.preparation
	select {
	case <-p.ended:
	case <-p.empty:
		err := dataInMemory()
		if err == nil {
			n.standIn = true
			return nil
		}
		n.log.Warn("the boot waits for data", "err", err)
		<-p.ended
	}
	if p.err != nil {
		return errors.Join(p.err, dataInMemory()) // a node without data can still say what is wrong
	}
	return n.useData()
}

// finishData puts data that was being made in the place of memory, with what
// was written there.
func (n *node) finishData(ctx context.Context) error {
	if !n.standIn {
		return nil
	}
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
	if err := keep(dataDir, preparedDir); err != nil {
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
		return errors.Join(fmt.Errorf("mount prepared data at %s: %w", dataDir, err), dataInMemory())
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

// dataInMemory has memory stand in for data.
func dataInMemory() error {
	err := unix.Mount("tmpfs", dataDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=20%")
	if err != nil {
		return fmt.Errorf("put memory in the place of data: %w", err)
	}
	return nil
}

// keep copies what is in memory, the files of a folder, to another.
func keep(memory, dir string) error {
	var files []wholefile.File
	err := filepath.WalkDir(memory, func(from string, entry fs.DirEntry, err error) error {
		if err != nil || from == memory {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was temporary
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(from, memory))
		if entry.IsDir() {
			return os.Mkdir(to, info.Mode().Perm())
		}
		if strings.HasPrefix(entry.Name(), ".") || strings.HasSuffix(from, wholefile.Suffix) {
			return nil // somebody is about to give it its name
		}
		contents, err := os.ReadFile(from)
		files = append(files, wholefile.File{Name: to, Contents: contents, Mode: info.Mode().Perm()})
		return err
	})
	if err == nil {
		err = wholefile.Replace(files...)
	}
	if err != nil {
		return fmt.Errorf("keep on data what was in memory: %w", err)
	}
	return nil
}
