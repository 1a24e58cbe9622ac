package flash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/procfs"
)

// System is where disks are looked for: sysfs (Linux,
// Documentation/ABI/stable/sysfs-block), procfs, and what udev found out.
type System struct {
	root   string                            // holds sys, proc and run
	number func(name string) (string, error) // "8:16" of a node
}

// NewSystem returns the machine that this runs on.
func NewSystem() *System { return &System{root: "/", number: nodeNumber} }

// errNoDisk is wrapped by the error about a name that is no block device.
var errNoDisk = errors.New("it is not a disk: `builder flash IMAGE` lists disks")

func nodeNumber(name string) (string, error) {
	var s unix.Stat_t
	if err := unix.Stat(name, &s); err != nil {
		return "", err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", errNoDisk
	}
	return fmt.Sprintf("%d:%d", unix.Major(s.Rdev), unix.Minor(s.Rdev)), nil
}

// notDisks are kernel names of what is in /sys/block and no disk to write an
// image to: optical and floppy drives, and the boot areas of an eMMC.
var notDisks = regexp.MustCompile(`^(sr|fd)[0-9]+$|^mmcblk[0-9]+(boot|rpmb|gp)`)

// List returns the removable disks that have a medium in them, by name.
func (s *System) List() ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(s.root, "sys/block"))
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	uses, err := s.uses()
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	disks := []Disk{}
	for _, e := range entries {
		dir, err := filepath.EvalSymlinks(filepath.Join(s.root, "sys/block", e.Name()))
		if err != nil || notDisks.MatchString(e.Name()) {
			continue // unplugged meanwhile
		}
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue // loop, ram, device mapper
		}
		if d := s.disk(dir, uses); d.Removable && d.Bytes > 0 {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// Find returns the disk with a node of that name. It need not be removable.
func (s *System) Find(name string) (Disk, error) {
	number, err := s.number(name)
	if err != nil {
		return Disk{}, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(s.root, "sys/dev/block", number))
	if err != nil {
		return Disk{}, fmt.Errorf("find it in sysfs: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return Disk{}, fmt.Errorf("it is a partition: name the whole disk, /dev/%s", kernelName(filepath.Dir(dir)))
	}
	if notDisks.MatchString(filepath.Base(dir)) {
		return Disk{}, errNoDisk
	}
	uses, err := s.uses()
	if err != nil {
		return Disk{}, err
	}
	return s.disk(dir, uses), nil
}

// kernelName returns the name of a device from its folder: sysfs has ! for /.
func kernelName(dir string) string { return strings.ReplaceAll(filepath.Base(dir), "!", "/") }

func (s *System) disk(dir string, uses map[string][]string) Disk {
	d := Disk{
		Name: kernelName(dir), Node: "/dev/" + kernelName(dir),
		Bytes: sectors(dir), ReadOnly: attribute(dir, "ro") == "1", Partitions: []Partition{},
	}
	d.Model = strings.Join(strings.Fields(attribute(dir, "device/vendor")+" "+attribute(dir, "device/model")), " ")
	if d.Model == "" || strings.HasPrefix(attribute(dir, "device/vendor"), "0x") {
		d.Model = attribute(dir, "device/model")
	}
	if name := attribute(dir, "device/name"); d.Model == "" && name != "" {
		d.Model = strings.TrimSpace(attribute(dir, "device/type") + " card " + name)
	}
	switch {
	case strings.Contains(dir, "/usb"):
		d.Transport = "usb"
	case strings.Contains(dir, "/mmc_host/"):
		d.Transport = "mmc"
	}
	d.Removable = attribute(dir, "removable") == "1" || d.Transport != ""
	var system bool
	d.Uses, d.System = s.usesOf(dir, uses, 0)
	d.FileSystem, d.Label = s.contents(dir)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if attribute(sub, "partition") == "" {
			continue
		}
		p := Partition{Name: kernelName(sub), Bytes: sectors(sub), Title: variable(attribute(sub, "uevent"), "PARTNAME=")}
		p.Uses, system = s.usesOf(sub, uses, 0)
		d.System = d.System || system
		p.FileSystem, p.Label = s.contents(sub)
		d.Partitions = append(d.Partitions, p)
	}
	slices.SortFunc(d.Partitions, func(a, b Partition) int {
		if n := len(a.Name) - len(b.Name); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	return d
}

// contents returns what udev found on a device (/run/udev/data/b8:17): this
// needs no right to read the device.
func (s *System) contents(dir string) (fileSystem, label string) {
	b, err := os.ReadFile(filepath.Join(s.root, "run/udev/data", "b"+attribute(dir, "dev")))
	if err != nil {
		return "", ""
	}
	return variable(string(b), "E:ID_FS_TYPE="), variable(string(b), "E:ID_FS_LABEL=")
}

// usesOf returns what a device is busy with, itself or through what is made of
// it: LVM, LUKS, RAID. It reports whether / is among that.
func (s *System) usesOf(dir string, uses map[string][]string, depth int) (of []string, system bool) {
	of = []string{}
	for _, use := range uses[attribute(dir, "dev")] {
		of = append(of, use)
		system = system || use == usedForRoot
	}
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil || depth > 8 {
		return of, system
	}
	for _, h := range holders {
		of = append(of, "used by "+h.Name())
		held, err := filepath.EvalSymlinks(filepath.Join(dir, "holders", h.Name()))
		if err != nil {
			continue
		}
		more, isSystem := s.usesOf(held, uses, depth+1)
		of, system = append(of, more...), system || isSystem
	}
	return of, system
}

const usedForRoot = "mounted at /"

// uses returns what devices are mounted or swapped to, by number.
func (s *System) uses() (map[string][]string, error) {
	b, err := os.ReadFile(filepath.Join(s.root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	uses := map[string][]string{}
	for _, m := range parseMounts(string(b)) {
		number := m.number
		// btrfs and overlays have numbers of their own.
		if strings.HasPrefix(number, "0:") {
			if number, err = s.number(m.source); err != nil {
				continue
			}
		}
		if use := "mounted at " + m.point; !slices.Contains(uses[number], use) {
			uses[number] = append(uses[number], use)
		}
	}
	swaps, err := os.ReadFile(filepath.Join(s.root, "proc/swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(swaps)) {
		name, _, _ := strings.Cut(line, " ")
		if number, err := s.number(procfs.Unescape(name)); err == nil {
			uses[number] = append(uses[number], "used as swap")
		}
	}
	return uses, nil
}

type mount struct{ number, point, source string }

// parseMounts reads /proc/self/mountinfo (proc(5)). A line that has another
// form is passed over.
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 6 || len(g) < 2 {
			continue
		}
		mounts = append(mounts, mount{f[2], printable(procfs.Unescape(f[4])), procfs.Unescape(g[1])})
	}
	return mounts
}

// printable keeps what a disk's labels say from moving a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// attribute reads a file of sysfs; it is empty if there is none.
func attribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || len(b) > 4096 {
		return ""
	}
	text := strings.TrimSpace(string(b))
	if name == "uevent" {
		return text
	}
	return printable(text)
}

func sectors(dir string) int64 {
	n, err := strconv.ParseInt(attribute(dir, "size"), 10, 64)
	if err != nil || n < 0 || n > 1<<50 {
		return 0
	}
	return n * 512 // whatever the disk's own sectors are
}

// variable returns the rest of the line that begins with key.
func variable(text, key string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return printable(strings.TrimSpace(value))
		}
	}
	return ""
}
