package slot

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/verity"
)

const (
	// Deadline is how long Find waits for a disk. USB disks take up to ten
	// seconds to spin up and answer.
	Deadline = 30 * time.Second
	// settle is how long Find waits for the disk the firmware booted from when it
	// has found the release on another one.
	settle = 5 * time.Second
)

// Search is where and how Find looks.
type Search struct {
	Sysfs  blockdev.Sysfs
	Events <-chan struct{} // ticks when a uevent came; may be nil
	// BootPartUUID returns the GUID of the partition the firmware booted from, in
	// any case, or nothing if that is not known (see [Variables.BootPartUUID]). It
	// is asked when a slot was found; nil means not known.
	BootPartUUID func() string
	// Booted is the slot that the boot chain says it started, if it does: both
	// slots may hold the same release.
	Booted   Letter
	Deadline time.Duration // default [Deadline]
	Settle   time.Duration // default 5 s
	// Open opens a device node for reading; default os.Open.
	Open func(node string) (Device, error)
}

// Device is an open disk or partition.
type Device interface {
	io.ReaderAt
	io.Closer
}

// Found is the slot that holds the root this boot's command line asks for.
type Found struct {
	Partition blockdev.Device
	Disk      blockdev.Device
	Letter    Letter
	// Also lists other partitions that hold the same release, as after
	// flashing two disks with one image.
	Also []blockdev.Device
}

// Find waits for a slot whose hash tree carries the root hash, and returns it.
// Slots on the disk the firmware booted from win, and the slot that it says it
// started. A release found elsewhere is used when these do not show up, too. When the deadline
// ends the search, the error lists every disk and partition seen and why it
// was not the one.
func Find(ctx context.Context, params verity.Params, s Search) (Found, error) {
	if s.Deadline == 0 {
		s.Deadline = Deadline
	}
	if s.Settle == 0 {
		s.Settle = settle
	}
	if s.BootPartUUID == nil {
		s.BootPartUUID = func() string { return "" }
	}
	if s.Open == nil {
		s.Open = func(node string) (Device, error) { return os.Open(node) }
	}
	ctx, cancel := context.WithTimeout(ctx, s.Deadline)
	defer cancel()
	look := &search{Search: s, params: params, verdicts: map[blockdevKey]string{}, uuids: map[blockdevKey]map[int]string{}}
	devices, err := s.Sysfs.Wait(ctx, s.Events, look.enough)
	if err == nil {
		return look.found, nil
	}
	if look.found.Letter != "" { // only its disk is not the expected one
		return look.found, nil
	}
	return Found{}, fmt.Errorf("find the slot of this release: %w: no partition holds its root; seen in %s: %s: check that the disk is attached and its driver is in the initramfs",
		err, s.Deadline, look.report(devices))
}

// blockdevKey tells a device from another that takes its name later.
type blockdevKey struct {
	name    string
	diskSeq uint64
	size    int64
}

func key(d blockdev.Device) blockdevKey { return blockdevKey{d.Name, d.DiskSeq, d.SizeBytes} }

type search struct {
	Search
	params   verity.Params
	verdicts map[blockdevKey]string // why a partition is not the one; "" if it is
	uuids    map[blockdevKey]map[int]string
	found    Found
	since    time.Time // when something was found first
}

// enough looks at all devices once. Partitions that were read are not read again.
func (s *search) enough(devices []blockdev.Device) bool {
	var matches []blockdev.Device
	for _, d := range devices {
		if _, isSlot := letterOf(d); isSlot && d.Partition > 0 && s.matches(d) {
			matches = append(matches, d)
		}
	}
	if len(matches) == 0 {
		s.found = Found{}
		return false
	}
	uuid := s.BootPartUUID()
	best, booted := 0, false
	for i, d := range matches {
		letter, _ := letterOf(d)
		if letter == s.Booted || uuid != "" && s.bootedFrom(devices, d.Parent, uuid) {
			best, booted = i, true
			break
		}
	}
	s.found = Found{Partition: matches[best]}
	s.found.Letter, _ = letterOf(matches[best])
	s.found.Disk, _ = blockdev.Named(devices, matches[best].Parent)
	s.found.Also = append(append(s.found.Also, matches[:best]...), matches[best+1:]...)
	if s.since.IsZero() {
		s.since = time.Now()
	}
	return booted || uuid == "" && s.Booted == "" || time.Since(s.since) >= s.Settle
}

func (s *search) matches(d blockdev.Device) bool {
	if why, known := s.verdicts[key(d)]; known && !strings.HasPrefix(why, "cannot ") {
		return why == ""
	}
	s.verdicts[key(d)] = s.compare(d)
	return s.verdicts[key(d)] == ""
}

func (s *search) compare(d blockdev.Device) string {
	dev, err := s.Open(d.Node)
	if err != nil {
		return fmt.Sprintf("cannot be opened: %v", err)
	}
	defer dev.Close()
	if needed := s.params.End(); d.SizeBytes < needed {
		return fmt.Sprintf("too small: the release has %d MiB", needed>>20)
	}
	ok, err := verity.Matches(dev, s.params)
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be read: %v", err)
	case !ok:
		return "holds another release or none"
	}
	return ""
}

// bootedFrom says whether the partition with this UUID is on the disk.
func (s *search) bootedFrom(devices []blockdev.Device, disk, uuid string) bool {
	for _, d := range blockdev.PartitionsOf(devices, disk) {
		if strings.EqualFold(d.PartUUID, uuid) {
			return true
		}
	}
	d, ok := blockdev.Named(devices, disk)
	if !ok {
		return false
	}
	uuids, read := s.uuids[key(d)]
	if !read {
		if dev, err := s.Open(d.Node); err == nil {
			uuids, _ = blockdev.ReadPartUUIDs(dev, d.SizeBytes, d.SectorBytes)
			dev.Close()
		}
		s.uuids[key(d)] = uuids
	}
	for _, id := range uuids {
		if strings.EqualFold(id, uuid) {
			return true
		}
	}
	return false
}

func (s *search) report(devices []blockdev.Device) string {
	if len(devices) == 0 {
		return "no disk at all"
	}
	var lines []string
	for _, d := range devices {
		why := "not a slot"
		switch {
		case d.Partition == 0 && len(blockdev.PartitionsOf(devices, d.Name)) == 0:
			why = "disk without partitions"
		case d.Partition == 0:
			why = "disk"
		default:
			if verdict, read := s.verdicts[key(d)]; read {
				why = verdict
			}
		}
		lines = append(lines, fmt.Sprintf("%s, %d MiB: %s", d, d.SizeBytes>>20, why))
	}
	return strings.Join(lines, "; ")
}
