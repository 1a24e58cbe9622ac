// Package blockdev reads what block devices the kernel has, waits for one to
// appear, says what a device holds by its signature, and tells the kernel of
// partitions that were added or grown.
//
// It reads sysfs and device starts and changes nothing but the kernel's list of
// partitions. Partition tables, file systems and their checks are left to
// package data, slots to package slot.
package blockdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Device is a disk or a partition the kernel knows.
type Device struct {
	Name         string // the kernel's name, "vda2"
	Node         string // "/dev/vda2"
	Major, Minor uint32
	StartBytes   int64 // where a partition starts on its disk
	SizeBytes    int64
	SectorBytes  int    // logical sector size of the disk
	Partition    int    // partition number, 0 for a whole disk
	Parent       string // name of the disk a partition is on
	PartName     string // name in a GPT entry
	PartUUID     string // lower case; only newer kernels say it, see ReadPartUUIDs
	DiskSeq      uint64 // grows each time a disk is attached or its medium changed
	Removable    bool
	ReadOnly     bool
	Holders      []string // names of devices stacked on this one
}

// String names a device as a person would look for it.
func (d Device) String() string {
	s := d.Node
	if d.PartName != "" {
		s += " (" + d.PartName + ")"
	}
	return s
}

// Sysfs finds devices in a mounted sysfs. The zero value reads /sys.
type Sysfs struct {
	Root string // default /sys
	Dev  string // where device nodes are, default /dev
}

// Scan lists disks and partitions by name. Devices that are views of others
// (loop, device mapper, software RAID) or memory (ram, zram) are left out, and so are drives
// without a medium. A device that disappears while it is read is left out.
func (s Sysfs) Scan() ([]Device, error) {
	class := filepath.Join(or(s.Root, "/sys"), "class/block")
	entries, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var devices []Device
	for _, e := range entries {
		if virtual(e.Name()) {
			continue
		}
		d, err := s.read(filepath.Join(class, e.Name()), e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read block device %s: %w", e.Name(), err)
		}
		if d.SizeBytes > 0 {
			devices = append(devices, d)
		}
	}
	slices.SortFunc(devices, func(a, b Device) int {
		return strings.Compare(natural(a.Name), natural(b.Name))
	})
	return devices, nil
}

func virtual(name string) bool {
	for _, prefix := range []string{"loop", "ram", "zram", "dm-", "md"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return true
		}
	}
	return false
}

// natural makes sda2 sort before sda10.
func natural(name string) string {
	digits := len(name) - len(strings.TrimRight(name, "0123456789"))
	return fmt.Sprintf("%s%012s", name[:len(name)-digits], name[len(name)-digits:])
}

func (s Sysfs) read(dir, name string) (Device, error) {
	// The kernel replaces / in device names by ! (cciss!c0d0).
	node := filepath.Join(or(s.Dev, "/dev"), strings.ReplaceAll(name, "!", "/"))
	d := Device{Name: name, Node: node}
	// An entry of the class is a link to the device's folder.
	link, err := os.Readlink(dir)
	if err != nil {
		return d, err
	}
	real := filepath.Join(filepath.Dir(dir), link)
	major, minor, err := readDev(filepath.Join(real, "dev"))
	if err != nil {
		return d, err
	}
	d.Major, d.Minor = major, minor
	sectors, err := readInt(filepath.Join(real, "size"))
	if err != nil {
		return d, err
	}
	d.SizeBytes = sectors * 512 // sysfs counts in 512 bytes whatever the disk's sectors are
	uevent, err := os.ReadFile(filepath.Join(real, "uevent"))
	if err != nil {
		return d, err
	}
	for line := range strings.Lines(string(uevent)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "PARTN":
			d.Partition, _ = strconv.Atoi(value)
		case "PARTNAME":
			d.PartName = value
		case "PARTUUID":
			d.PartUUID = strings.ToLower(value)
		case "DISKSEQ":
			d.DiskSeq, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	disk := real
	if number, err := readInt(filepath.Join(real, "partition")); err == nil {
		d.Partition = int(number)
		disk = filepath.Dir(real)
		d.Parent = filepath.Base(disk)
		start, err := readInt(filepath.Join(real, "start"))
		if err != nil {
			return d, err
		}
		d.StartBytes = start * 512
	}
	d.SectorBytes = 512
	if n, err := readInt(filepath.Join(disk, "queue/logical_block_size")); err == nil && n >= 512 {
		d.SectorBytes = int(n)
	}
	ro, _ := readInt(filepath.Join(real, "ro"))
	removable, _ := readInt(filepath.Join(disk, "removable"))
	d.ReadOnly, d.Removable = ro != 0, removable != 0
	if holders, err := os.ReadDir(filepath.Join(real, "holders")); err == nil {
		for _, h := range holders {
			d.Holders = append(d.Holders, h.Name())
		}
	}
	return d, nil
}

// Named returns the device with the given kernel name.
func Named(devices []Device, name string) (Device, bool) {
	i := slices.IndexFunc(devices, func(d Device) bool { return d.Name == name })
	if i < 0 {
		return Device{}, false
	}
	return devices[i], true
}

// PartitionsOf returns the partitions of the disk with the given kernel name.
func PartitionsOf(devices []Device, disk string) []Device {
	var parts []Device
	for _, d := range devices {
		if d.Partition > 0 && d.Parent == disk {
			parts = append(parts, d)
		}
	}
	return parts
}

// Rescan is how often Wait looks again when no event came: a uevent can be
// lost when its socket overflows.
const Rescan = 250 * time.Millisecond

// Wait scans until enough says that what it was shown suffices, and returns
// that scan. It scans at once, whenever events ticks, and every Rescan. When
// ctx ends first it returns the last scan and the context's error.
func (s Sysfs) Wait(ctx context.Context, events <-chan struct{}, enough func([]Device) bool) ([]Device, error) {
	ticker := time.NewTicker(Rescan)
	defer ticker.Stop()
	for {
		devices, err := s.Scan()
		if err != nil {
			return nil, err
		}
		if enough(devices) {
			return devices, nil
		}
		select {
		case <-ctx.Done():
			return devices, fmt.Errorf("wait for block devices: %w", context.Cause(ctx))
		case <-ticker.C:
		case _, open := <-events:
			if !open {
				events = nil
			}
		}
	}
}

func readDev(name string) (major, minor uint32, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, err
	}
	a, b, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
	ma, err1 := strconv.ParseUint(a, 10, 32)
	mi, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%s: %q is not major:minor", name, text)
	}
	return uint32(ma), uint32(mi), nil
}

func readInt(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
