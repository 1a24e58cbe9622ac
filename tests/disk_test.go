//go:build system

package tests

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/skerry-os/skerry/tests/machine"
)

func TestDiskTooSmallForDataIsNamedAndTheNodeComesUp(t *testing.T) {
	t.Parallel()
	timed(t)
	d := machine.NewDisk(t, workDir, built(t, "x86_64").path(), 0)
	up := boot(t, d).ExpectUp()
	wantLine(t, up.Lines, `^phase mounts .*: failed: .*MiB behind the slots, data needs 64 MiB: use a disk of at least \d+ MiB`)
	withoutData(t, up)
	d.CheckTable()
}

// Of a card that was copied to a disk many times as large, more than what the
// file system has room for group descriptors for.
func TestDataGrowsWithItsDisk(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	m := boot(t, d)
	wantLine(t, m.ExpectUp().Lines, `^  data +/dev/vda4, .* of 7\d\d\.\d MiB used`)
	m.PowerOff()
	if err := os.Truncate(d.Path, 32*diskBytes); err != nil {
		t.Fatal(err)
	}
	m = boot(t, d)
	wantLine(t, m.ExpectUp().Lines, `^  data +/dev/vda4, .* of 6\d\.\d GiB used`)
	m.PowerOff()
	d.CheckTable()
	d.CheckData()
}

func TestForeignContentsOfDataAreKeptUntilTheConfigSaysWipe(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	start, bytes := addData(t, d)
	machine.Run(t, "mke2fs", "-q", "-t", "ext4", "-L", "photos", "-E", fmt.Sprintf("offset=%d", start), d.Path, fmt.Sprintf("%dk", bytes>>10))
	before := digest(t, d.Path, start, bytes)

	m := boot(t, d)
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^phase mounts .*: failed: .*/dev/vda4: holds .*photos.*, which is left alone: `)
	withoutData(t, up)
	m.Kill()
	if digest(t, d.Path, start, bytes) != before {
		t.Error("the file system of somebody else was changed")
	}

	d.WriteConfig(header + "storage: {data: {wipe: true}}\n")
	m = boot(t, d)
	up = m.ExpectUp()
	wantLine(t, up.Lines, `^skerry: data: making the data file system`)
	wantLine(t, up.Lines, `^  data +/dev/vda4, `)
	m.PowerOff()
	d.CheckTable()
	d.CheckData()
}

func TestForeignContentsBehindTheSlotsAreLeftAlone(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	// Where data would begin: behind the image and its second partition table.
	start := (built(t, "x86_64").size(t) + 1<<20 - 1) >> 20 << 20
	xfs := append([]byte("XFSB\x00\x00\x10\x00"), make([]byte, 504)...)
	d.Write(start, xfs)
	up := boot(t, d).ExpectUp()
	wantLine(t, up.Lines, `^phase mounts .*: failed: .*unallocated space behind the slots holds .*(?i:xfs).*, which is left alone: `)
	withoutData(t, up)
	if string(d.Read(start, len(xfs))) != string(xfs) {
		t.Error("what lay behind the slots was changed")
	}
	if _, _, ok := d.Partition(machine.PartitionData); ok {
		t.Error("a partition was made over it")
	}
}

func TestNodeComesUpWithFullData(t *testing.T) {
	t.Parallel()
	timed(t)
	d := used(t)
	name := d.FileSystem()
	free := regexp.MustCompile(`(?m)^Free blocks: +(\d+)`).FindStringSubmatch(machine.Run(t, "dumpe2fs", "-h", name))
	if free == nil {
		t.Fatal("dumpe2fs does not say how many blocks are free")
	}
	blocks, err := strconv.Atoi(free[1])
	if err != nil {
		t.Fatal(err)
	}
	// The extents of the file take some blocks, too.
	machine.Run(t, "debugfs", "-w", "-R", "write /dev/null full", name)
	machine.Run(t, "debugfs", "-w", "-R", fmt.Sprintf("fallocate full 0 %d", blocks-40), name)
	m := boot(t, d)
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^skerry: problem: data space: data is full: `)
	wantLine(t, up.Lines, nodeLine+`2$`)
	if up.Hostname != "shop-17" {
		t.Errorf("the node is called %s, not shop-17", up.Hostname)
	}
	m.PowerOff()
	d.CheckData()
}

// withoutData says that the node is up with nothing on disk.
func withoutData(t *testing.T, up machine.Up) {
	t.Helper()
	wantLine(t, up.Lines, `^  data +none$`)
	wantLine(t, up.Lines, `^  services +heartbeat ready`)
}

// addData adds partition data to a flashed disk, as large as can be, and
// returns where it is.
func addData(t *testing.T, d machine.Disk) (start, bytes int64) {
	t.Helper()
	machine.Run(t, "sgdisk", "-e", "-n", "4:0:0", "-c", "4:data", d.Path)
	start, bytes, ok := d.Partition(machine.PartitionData)
	if !ok {
		t.Fatal("sgdisk made no partition")
	}
	return start, bytes
}

func digest(t *testing.T, name string, start, bytes int64) [sha256.Size]byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, start, bytes)); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}
