package flash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine makes a tree as sysfs, procfs and udev show it: a disk with / on LVM,
// a card in a USB reader with two partitions, an empty reader, an eMMC.
func machine(t *testing.T) *System {
	t.Helper()
	root := t.TempDir()
	file := func(name, contents string) {
		name = filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(contents+"\n"), 0o600))
	}
	link := func(name, to string) {
		name = filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.Symlink(filepath.Join(root, to), name))
	}
	block := func(dir, number, sectors string) {
		file(dir+"/dev", number)
		file(dir+"/size", sectors)
		link("sys/dev/block/"+number, dir)
		if !strings.Contains(filepath.Base(filepath.Dir(dir)), "sd") {
			link("sys/block/"+filepath.Base(dir), dir)
			file(dir+"/ro", "0")
			file(dir+"/removable", "0")
		}
	}
	const sda, sdb = "sys/devices/pci0/ata1/block/sda", "sys/devices/pci0/usb1/1-1/block/sdb"
	block(sda, "8:0", "500000000")
	file(sda+"/device/model", "Big SSD")
	block(sda+"/sda1", "8:1", "400000000")
	file(sda+"/sda1/partition", "1")
	block("sys/devices/virtual/block/dm-0", "253:0", "400000000")
	link(sda+"/sda1/holders/dm-0", "sys/devices/virtual/block/dm-0")

	block(sdb, "8:16", "62333952")
	file(sdb+"/removable", "1")
	file(sdb+"/device/vendor", "Generic ")
	file(sdb+"/device/model", "STORAGE DEVICE   ")
	for _, n := range []string{"1", "2"} {
		block(sdb+"/sdb"+n, "8:1"+map[string]string{"1": "7", "2": "8"}[n], "540672")
		file(sdb+"/sdb"+n+"/partition", n)
		file(sdb+"/sdb"+n+"/uevent", "MAJOR=8\nPARTNAME=part-"+n)
	}
	file("run/udev/data/b8:17", "S:disk/by-label/X\nE:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=SKERRY\x1b[2J")

	block("sys/devices/pci0/usb1/1-2/block/sdc", "8:32", "0")
	file("sys/devices/pci0/usb1/1-2/block/sdc/device/model", "empty")
	const mmc = "sys/devices/soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0"
	block(mmc, "179:0", "30535680")
	file(mmc+"/device/name", "SD32G")
	file(mmc+"/device/type", "SD")
	file(mmc+"/ro", "1")
	block(filepath.Dir(mmc)+"/mmcblk0boot0", "179:8", "8192")
	file(filepath.Dir(mmc)+"/mmcblk0boot0/device/name", "x")
	block("sys/devices/pci0/ata2/block/sr0", "11:0", "100")
	file("sys/devices/pci0/ata2/block/sr0/removable", "1")
	file("sys/devices/pci0/ata2/block/sr0/device/model", "DVD")

	file("proc/self/mountinfo", `21 26 0:20 / /proc rw - proc proc rw
26 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw
27 26 8:17 / /media/my\040card rw shared:2 - vfat /dev/sdb1 rw
28 26 0:40 / /btrfs rw - btrfs /dev/sdb2 rw
torn line`)
	file("proc/swaps", "Filename Type Size Used Priority\n/dev/sdb2 partition 1 0 -2")
	numbers := map[string]string{"/dev/sda": "8:0", "/dev/sda1": "8:1", "/dev/sdb": "8:16", "/dev/sdb2": "8:18", "/dev/sdc": "8:32", "/dev/mmcblk0": "179:0", "/dev/sr0": "11:0"}
	return &System{root: root, number: func(name string) (string, error) {
		if n, ok := numbers[name]; ok {
			return n, nil
		}
		return "", errNoDisk
	}}
}

func TestRemovableDisksAreListedWithWhatIsOnThem(t *testing.T) {
	disks, err := machine(t).List()
	must(t, err)
	if len(disks) != 2 || disks[0].Name != "mmcblk0" || disks[1].Name != "sdb" {
		t.Fatalf("got %+v", disks)
	}
	if d := disks[0]; d.Model != "SD card SD32G" || d.Transport != "mmc" || !d.ReadOnly {
		t.Errorf("got %+v", d)
	}
	d := disks[1]
	if d.Node != "/dev/sdb" || d.Model != "Generic STORAGE DEVICE" || d.Transport != "usb" || d.Bytes != 62333952*512 || d.System || len(d.Partitions) != 2 {
		t.Errorf("got %+v", d)
	}
	p := d.Partitions[0]
	if p.Name != "sdb1" || p.Title != "part-1" || p.FileSystem != "vfat" || p.Label != "SKERRY?[2J" || strings.Join(p.Uses, "; ") != "mounted at /media/my card" {
		t.Errorf("got %+v", p)
	}
	if uses := strings.Join(d.Partitions[1].Uses, "; "); uses != "mounted at /btrfs; used as swap" {
		t.Errorf("got %q", uses)
	}
}

func TestDisksThatMayBeAMistakeAreRefused(t *testing.T) {
	s := machine(t)
	for _, c := range []struct {
		node         string
		plain, force string // what the error says; empty if there is none
	}{
		{"/dev/sda", "/ of this machine is on it", "/ of this machine is on it"},
		{"/dev/sda1", "name the whole disk, /dev/sda", "name the whole disk, /dev/sda"},
		{"/dev/sdb", "it is mounted at /media/my card, and mounted at /btrfs, and used as swap: unmount it or pass --force", ""},
		{"/dev/sdc", "no medium", "no medium"},
		{"/dev/mmcblk0", "write-protected", "write-protected"},
		{"/dev/sr0", "not a disk", "not a disk"},
		{"/dev/null", "not a disk", "not a disk"},
	} {
		for force, want := range map[bool]string{false: c.plain, true: c.force} {
			d, err := s.Find(c.node)
			if err == nil {
				err = d.Check(force)
			}
			if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s, force %v: %v, want %q", c.node, force, err, want)
			}
		}
	}
	fixed := Disk{Bytes: 1}
	if err := fixed.Check(false); err == nil || !strings.Contains(err.Error(), "not removable") {
		t.Error(err)
	}
	if err := fixed.Check(true); err != nil {
		t.Error(err)
	}
}

func TestNodesThatAreNoBlockDevicesAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, name := range []string{"/dev/null", file, t.TempDir()} {
		if _, err := NewSystem().Find(name); !errors.Is(err, errNoDisk) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFilesStandInForDisksAtAnyPlace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(name, make([]byte, 9*mib), 0o600))
	dev, err := OpenDevice(name, false)
	must(t, err)
	defer dev.Close()
	want := make([]byte, 9*mib)
	for n, at := range []int64{0, 1, 511, 4095, 4096, 9*mib - 7, 3*mib + 1} {
		b := make([]byte, min(int64(5*mib), 9*mib-at))
		for i := range b {
			b[i] = byte(n + i)
		}
		_, err := dev.WriteAt(b, at)
		must(t, err)
		copy(want[at:], b)
	}
	if done, err := dev.Zero(4096, 8192); err != nil {
		t.Error(err)
	} else if done {
		copy(want[4096:], make([]byte, 8192))
	}
	must(t, dev.Uncache())
	got := make([]byte, 9*mib-3)
	_, err = dev.ReadAt(got, 3)
	must(t, err)
	if string(got) != string(want[3:]) {
		t.Error("what is read is not what was written")
	}
	if _, err := dev.WriteAt([]byte("x"), 9*mib); err == nil {
		t.Error("a write behind the end")
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(`26 1 253:0 / /a\040b rw - ext4 /dev/mapper/root rw`)
	f.Add("a - b\\04")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if strings.ContainsAny(m.point, "\x1b\n") {
				t.Errorf("got %q", m.point)
			}
		}
	})
}
