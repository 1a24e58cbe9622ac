package machine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Numbers of the partitions of a disk.
const (
	PartitionSlotA = 2
	PartitionData  = 4
)

// sectorBytes is what QEMU's disks and sgdisk count in.
const sectorBytes = 512

// Disk is a file that is a machine's disk. Its methods are what a person does
// to a disk on another computer, while the node is off.
type Disk struct {
	Path string
	t    testing.TB
}

// NewDisk makes a disk of so many bytes, with a copy of an image or of another
// disk at its start. Bytes of 0 leave it as large as that. It takes little room:
// zeros are not stored.
func NewDisk(t testing.TB, dir, image string, bytes int64) Disk {
	t.Helper()
	file, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		t.Fatal(err)
	}
	d := Disk{file.Name(), t}
	file.Close()
	os.Remove(d.Path)
	if err := disk.Copy(context.Background(), d.Path, image); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(d.Path); os.Remove(d.Path + ".variables") })
	if bytes > d.Size() {
		if err := os.Truncate(d.Path, bytes); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Size returns the size of the disk in bytes.
func (d Disk) Size() int64 {
	d.t.Helper()
	info, err := os.Stat(d.Path)
	if err != nil {
		d.t.Fatal(err)
	}
	return info.Size()
}

// WriteConfig puts a node config on partition boot, whatever is in it.
func (d Disk) WriteConfig(config string) {
	d.t.Helper()
	if err := disk.WriteBootFile(d.Path, nodeconfig.FileName, []byte(config), time.Now()); err != nil {
		d.t.Fatal(err)
	}
}

// FlipBit changes one bit of the byte at an offset from the disk's start.
func (d Disk) FlipBit(offset int64) {
	d.t.Helper()
	file := d.open()
	defer file.Close()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, offset); err != nil {
		d.t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := file.WriteAt(b, offset); err != nil {
		d.t.Fatal(err)
	}
}

// Read returns bytes of the disk.
func (d Disk) Read(offset int64, count int) []byte {
	d.t.Helper()
	file := d.open()
	defer file.Close()
	b := make([]byte, count)
	if _, err := file.ReadAt(b, offset); err != nil {
		d.t.Fatal(err)
	}
	return b
}

// Write changes bytes of the disk.
func (d Disk) Write(offset int64, b []byte) {
	d.t.Helper()
	file := d.open()
	defer file.Close()
	if _, err := file.WriteAt(b, offset); err != nil {
		d.t.Fatal(err)
	}
}

func (d Disk) open() *os.File {
	d.t.Helper()
	file, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return file
}

var (
	firstSector    = regexp.MustCompile(`(?m)^First sector: (\d+)`)
	partitionCount = regexp.MustCompile(`(?m)^Partition size: (\d+) sectors`)
)

// Partition returns where a partition is and how large, in bytes, as sgdisk
// sees it. ok is false if there is none with this number.
func (d Disk) Partition(number int) (start, bytes int64, ok bool) {
	d.t.Helper()
	text := Run(d.t, "sgdisk", "-i", strconv.Itoa(number), d.Path)
	first, count := firstSector.FindStringSubmatch(text), partitionCount.FindStringSubmatch(text)
	if first == nil || count == nil {
		return 0, 0, false
	}
	s, _ := strconv.ParseInt(first[1], 10, 64) // digits, and few
	n, _ := strconv.ParseInt(count[1], 10, 64)
	return s * sectorBytes, n * sectorBytes, true
}

// FileSystem returns what e2fsprogs' programs call the file system on partition data.
func (d Disk) FileSystem() string {
	d.t.Helper()
	start, _, ok := d.Partition(PartitionData)
	if !ok {
		d.t.Fatalf("%s has no partition %d\n%s", d.Path, PartitionData, Run(d.t, "sgdisk", "-p", d.Path))
	}
	return fmt.Sprintf("%s?offset=%d", d.Path, start)
}

// CheckTable has sgdisk, or sfdisk in the case of an MBR, check the partition table.
func (d Disk) CheckTable() {
	d.t.Helper()
	image, err := disk.Open(d.Path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer image.Close()
	if len(image.ID()) == 8 { // digits of an MBR
		if text := Run(d.t, "sfdisk", "--verify", d.Path); !strings.Contains(text, "No errors detected") {
			d.t.Errorf("sfdisk --verify:\n%s", text)
		}
		return
	}
	if text := Run(d.t, "sgdisk", "-v", d.Path); !strings.Contains(text, "No problems found") {
		d.t.Errorf("sgdisk -v:\n%s", text)
	}
}

// CheckData has e2fsck check the file system on data, after a clean shutdown.
func (d Disk) CheckData() {
	d.t.Helper()
	Run(d.t, "e2fsck", "-fn", d.FileSystem())
}

// Run runs a program of the host and returns what it printed. It fails the
// test if the program does.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v (`make deps` installs what is missing)\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}
