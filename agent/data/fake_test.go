package data

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// disk keeps the sectors that were written and records the writes, so that the
// states a power cut could leave can be made from it.
type disk struct {
	size    int64
	sectors map[int64][512]byte
	log     []write
}

// write is one write, or a sync if data is nil.
type write struct {
	at   int64
	data []byte
}

func (d *disk) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > d.size {
		return 0, io.EOF
	}
	for n := 0; n < len(b); {
		sector := d.sectors[(at+int64(n))/512]
		n += copy(b[n:], sector[(at+int64(n))%512:])
	}
	return len(b), nil
}

func (d *disk) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > d.size {
		return 0, fmt.Errorf("write of %d bytes at %d of %d", len(b), at, d.size)
	}
	d.log = append(d.log, write{at, bytes.Clone(b)})
	for n := 0; n < len(b); {
		i := (at + int64(n)) / 512
		sector := d.sectors[i]
		n += copy(sector[(at+int64(n))%512:], b[n:])
		d.sectors[i] = sector
	}
	return len(b), nil
}

func (d *disk) Sync() error {
	d.log = append(d.log, write{})
	return nil
}

func (d *disk) Close() error { return nil }

func (d *disk) clone() *disk {
	c := &disk{size: d.size, sectors: make(map[int64][512]byte, len(d.sectors))}
	for i, s := range d.sectors {
		c.sectors[i] = s
	}
	return c
}

// window is a part of a disk.
type window struct {
	Disk
	start int64
}

func (w window) ReadAt(b []byte, at int64) (int, error)  { return w.Disk.ReadAt(b, w.start+at) }
func (w window) WriteAt(b []byte, at int64) (int, error) { return w.Disk.WriteAt(b, w.start+at) }
func (w window) Close() error                            { return nil }

type noClose struct{ *os.File }

func (noClose) Close() error { return nil }

// machine is a fake kernel with one disk, /dev/vda, whose partitions are those
// it was told of.
type machine struct {
	t       *testing.T
	disk    Disk
	size    int64
	sector  int
	parts   []blockdev.Device
	file    string // of the disk, for the tools
	mounts  []error
	mounted string
	grown   int64
	ran     []string
	told    []string
}

func (m *machine) device() blockdev.Device {
	return blockdev.Device{Name: "vda", Node: "/dev/vda", SizeBytes: m.size, SectorBytes: m.sector}
}

func (m *machine) Wait(ctx context.Context, enough func([]blockdev.Device) bool) ([]blockdev.Device, error) {
	all := append([]blockdev.Device{m.device()}, m.parts...)
	if enough(all) {
		return all, nil
	}
	return all, context.DeadlineExceeded // nothing appears by itself here
}

func (m *machine) Open(node string) (Disk, error) {
	if node == "/dev/vda" {
		return window{m.disk, 0}, nil
	}
	for _, p := range m.parts {
		if p.Node == node {
			return window{m.disk, p.StartBytes}, nil
		}
	}
	return nil, fmt.Errorf("open %s: %w", node, os.ErrNotExist)
}

func (m *machine) part(number int, name string, start, size int64) {
	node := fmt.Sprintf("vda%d", number)
	m.parts = append(m.parts, blockdev.Device{
		Name: node, Node: "/dev/" + node, StartBytes: start, SizeBytes: size,
		SectorBytes: m.sector, Partition: number, Parent: "vda", PartName: name,
	})
}

func (m *machine) AddPartition(disk string, number int, start, size int64) error {
	m.told = append(m.told, fmt.Sprintf("add %d", number))
	m.part(number, "", start, size)
	return nil
}

func (m *machine) ResizePartition(disk string, number int, start, size int64) error {
	m.told = append(m.told, fmt.Sprintf("resize %d", number))
	for i := range m.parts {
		if m.parts[i].Partition == number {
			m.parts[i].SizeBytes = size
		}
	}
	return nil
}

func (m *machine) ForgetPartitions(string) error {
	m.parts = nil
	return nil
}

func (m *machine) Mount(node, dir string) error {
	if len(m.mounts) > 0 {
		err := m.mounts[0]
		m.mounts = m.mounts[1:]
		if err != nil {
			return err
		}
	}
	m.mounted = node
	return nil
}

func (m *machine) GrowMounted(_ string, blocks int64) error {
	m.grown = blocks
	return nil
}

// run runs mke2fs and e2fsck on the part of the disk's file a partition is.
func (m *machine) run(cmd *exec.Cmd) error {
	node := cmd.Args[len(cmd.Args)-1]
	d := m.device()
	for _, p := range m.parts {
		if p.Node == node {
			d = p
		}
	}
	name := filepath.Base(cmd.Path)
	m.ran = append(m.ran, name)
	args := cmd.Args[1 : len(cmd.Args)-1]
	if name == "mke2fs" {
		for i, a := range args {
			if strings.Contains(a, "nodiscard") {
				args[i] = fmt.Sprintf("%s,offset=%d", a, d.StartBytes)
			}
		}
		args = append(args, m.file, fmt.Sprintf("%dk", d.SizeBytes/1024))
	} else {
		args = append(args, fmt.Sprintf("%s?offset=%d", m.file, d.StartBytes))
	}
	real := exec.Command(cmd.Path, args...)
	real.Stdout, real.Stderr = cmd.Stdout, cmd.Stderr
	return real.Run()
}

func (m *machine) options() Options {
	return Options{
		BootDisk: m.device(), MountPoint: "/var", System: m, Run: m.run,
		Log: slog.New(slog.DiscardHandler),
	}
}

// tool runs a host tool; a missing one is a failure, not a skip.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// Layout of the image: boot, slot-a and slot-b of 8 MiB, then 1 MiB with the
// backup table. So data starts at 26 MiB on a larger disk.
const (
	imageBytes = 26 * mib
	dataStart  = 26 * mib
)

// image is made once: sgdisk sleeps for a second after each change.
var image = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "disk")
	if err := os.WriteFile(name, make([]byte, imageBytes), 0o644); err != nil {
		return nil, err
	}
	out, err := exec.Command("sgdisk", "-o", "-n", "1:2048:+8M", "-t", "1:ef00", "-c", "1:boot", "-n", "2:0:+8M", "-c", "2:slot-a",
		"-A", "2:set:60", "-n", "3:0:+8M", "-c", "3:slot-b", name).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("sgdisk: %w: %s", err, out)
	}
	return os.ReadFile(name)
})

func imageContents(t *testing.T) []byte {
	t.Helper()
	b, err := image()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newImage makes a disk of the given size with the image.
func newImage(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, imageContents(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}

func (m *machine) addImageParts() {
	for i, name := range []string{"boot", "slot-a", "slot-b"} {
		m.part(i+1, name, int64(1+8*i)*mib, 8*mib)
	}
}

// newMachine boots a machine from a disk with the image.
func newMachine(t *testing.T, size int64) *machine {
	t.Helper()
	m := &machine{t: t, size: size, sector: 512, file: newImage(t, size)}
	f, err := os.OpenFile(m.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m.disk = noClose{f}
	m.addImageParts()
	return m
}

// reboot forgets what the kernel was told and reads the table again.
func (m *machine) reboot() {
	m.t.Helper()
	m.parts, m.mounted, m.grown, m.ran, m.told = nil, "", 0, nil, nil
	t, err := readTable(m.disk, m.device())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range t.entries() {
		m.part(e.number, e.name, e.start, e.size)
	}
}

func (m *machine) prepare() Result {
	m.t.Helper()
	o, empty := m.options(), false
	o.Empty = func() { empty = true }
	r, err := Prepare(m.t.Context(), o)
	if err != nil {
		m.t.Fatal(err)
	}
	if empty != r.Created {
		m.t.Errorf("that data begins empty was said: %v; a file system was made: %v", empty, r.Created)
	}
	return r
}

// fsck is e2fsck's verdict on data.
func (m *machine) fsck(start int64) {
	m.t.Helper()
	tool(m.t, "e2fsck", "-f", "-n", fmt.Sprintf("%s?offset=%d", m.file, start))
}
