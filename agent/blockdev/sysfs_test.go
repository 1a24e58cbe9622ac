package blockdev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeSysfs lays out devices as the kernel does: real folders below devices/,
// partitions inside their disk, symbolic links in class/block.
type fakeSysfs struct {
	t    *testing.T
	root string
}

func (s fakeSysfs) add(real string, files map[string]string) {
	s.t.Helper()
	dir := filepath.Join(s.root, "devices", real)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	class := filepath.Join(s.root, "class/block")
	if err := os.MkdirAll(class, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("../../devices", real), filepath.Join(class, filepath.Base(real))); err != nil {
		s.t.Fatal(err)
	}
}

func (s fakeSysfs) addDisk() {
	s.add("pci0/virtio1/block/vda", map[string]string{
		"dev": "254:0\n", "size": "16777216\n", "ro": "0\n", "removable": "1\n",
		"queue/logical_block_size": "4096\n", "uevent": "MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\nDISKSEQ=9\n",
	})
}

func (s fakeSysfs) addSlot() {
	s.add("pci0/virtio1/block/vda/vda2", map[string]string{
		"dev": "254:2\n", "size": "2048\n", "start": "131072\n", "partition": "2\n", "ro": "1\n", "holders/dm-0": "",
		"uevent": "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nDISKSEQ=9\nPARTN=2\nPARTNAME=slot-a\nPARTUUID=AABB\n",
	})
}

func newSysfs(t *testing.T) (fakeSysfs, Sysfs) {
	root := t.TempDir()
	return fakeSysfs{t, root}, Sysfs{Root: root}
}

func TestScanReadsDisksAndPartitions(t *testing.T) {
	fake, sysfs := newSysfs(t)
	fake.addDisk()
	fake.addSlot()
	for _, name := range []string{"loop0", "ram1", "zram0", "dm-0", "md127"} {
		fake.add("virtual/block/"+name, map[string]string{"dev": "7:0\n", "size": "8\n", "uevent": ""})
	}
	fake.add("pci0/block/sr0", map[string]string{"dev": "11:0\n", "size": "0\n", "uevent": ""})
	fake.add("pci0/block/cciss!c0d0", map[string]string{"dev": "104:0\n", "size": "8\n", "uevent": ""})
	got, err := sysfs.Scan()
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{
		{Name: "cciss!c0d0", Node: "/dev/cciss/c0d0", Major: 104, SizeBytes: 4096, SectorBytes: 512},
		{Name: "vda", Node: "/dev/vda", Major: 254, SizeBytes: 8 << 30, SectorBytes: 4096, Removable: true, DiskSeq: 9},
		{
			Name: "vda2", Node: "/dev/vda2", Major: 254, Minor: 2, StartBytes: 64 << 20, SizeBytes: 1 << 20, SectorBytes: 4096,
			Partition: 2, Parent: "vda", PartName: "slot-a", PartUUID: "aabb", DiskSeq: 9, Removable: true, ReadOnly: true, Holders: []string{"dm-0"},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if parts := PartitionsOf(got, "vda"); len(parts) != 1 || parts[0].Name != "vda2" {
		t.Errorf("partitions of vda: %v", parts)
	}
}

func TestDeviceThatDisappearsIsLeftOut(t *testing.T) {
	fake, sysfs := newSysfs(t)
	fake.addDisk()
	if err := os.Symlink("../../devices/gone/block/sda", filepath.Join(fake.root, "class/block/sda")); err != nil {
		t.Fatal(err)
	}
	got, err := sysfs.Scan()
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func hasSlot(devices []Device) bool {
	_, ok := Named(devices, "vda2")
	return ok
}

func TestWaitLooksAgainAtAnEvent(t *testing.T) {
	fake, sysfs := newSysfs(t)
	fake.addDisk()
	events := make(chan struct{})
	go func() {
		fake.addSlot()
		events <- struct{}{}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if devices, err := sysfs.Wait(ctx, events, hasSlot); err != nil || len(devices) != 2 {
		t.Errorf("got %v, %v", devices, err)
	}
}

func TestWaitWorksWithoutEvents(t *testing.T) {
	fake, sysfs := newSysfs(t)
	fake.addDisk()
	closed := make(chan struct{})
	close(closed)
	for _, events := range []chan struct{}{nil, closed} {
		scans := 0
		_, err := sysfs.Wait(t.Context(), events, func([]Device) bool { scans++; return scans == 3 })
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	fake, sysfs := newSysfs(t)
	fake.addDisk()
	ctx, cancel := context.WithCancel(t.Context())
	devices, err := sysfs.Wait(ctx, nil, func([]Device) bool { cancel(); return false })
	if !errors.Is(err, context.Canceled) || len(devices) != 1 {
		t.Errorf("got %v, %v: want the last scan and the context's error", devices, err)
	}
}
