package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/bits"
	"regexp"
	"strconv"

	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/ubootenv"
)

const (
	bootScript = "boot.scr"
	// maxKernel is more than a kernel or an initramfs has that U-Boot loads.
	maxKernel = 256 << 20
)

// What the scripts say. They are text that the builder made, and nobody else.
var (
	saysState     = regexp.MustCompile(`skerry\.state=(\S+)`)
	saysArguments = regexp.MustCompile(`(?m)^\s*setenv bootargs "(.*) \$\{skerry_args\}"$`)
	saysSum       = regexp.MustCompile(`itest\.l \*\$\{skerry_scratch\} == 0x([0-9a-f]{8})`)
	saysAddress   = regexp.MustCompile(`(?m)^setenv (kernel_addr_r|ramdisk_addr_r|fdt_addr_r) 0x([0-9a-f]{1,15})$`)
)

// checkUBoot checks how a board with U-Boot gets to a slot: what the processor
// starts, U-Boot's script and the boot state.
func (i *inspection) checkUBoot() {
	family, taken := i.checkFirstStage()
	i.family = family
	layout, ok := i.checkBootScript()
	if ok {
		state := ubootenv.Read(i.image, layout)
		for _, problem := range state.Problems {
			if problem != nil {
				i.find("boot state", "%v.", problem)
			}
		}
		i.defaultSlot = map[string]string{ubootenv.SlotA: disk.SlotA, ubootenv.SlotB: disk.SlotB}[state.OK]
		for n, at := range layout.Offsets {
			taken = append(taken, span{fmt.Sprintf("copy %d of the boot state", n+1), at, at + ubootenv.Size})
		}
	}
	i.checkSpans(taken)
}

// checkBootScript reads where U-Boot's script keeps the boot state.
func (i *inspection) checkBootScript() (ubootenv.Layout, bool) {
	contents, err := i.readBoot(bootScript)
	if err != nil {
		i.find(onBoot(bootScript), "It cannot be read: %v. U-Boot starts nothing.", err)
		return ubootenv.Layout{}, false
	}
	text, err := bootscript.Script(contents)
	if err != nil {
		i.find(onBoot(bootScript), "It is no script for U-Boot: %v.", err)
		return ubootenv.Layout{}, false
	}
	says := saysState.FindStringSubmatch(text)
	if says == nil {
		i.find(onBoot(bootScript), "It does not say where the boot state is: the node cannot change it.")
		return ubootenv.Layout{}, false
	}
	layout, err := ubootenv.ParseLayout(says[1])
	if err != nil {
		i.find(onBoot(bootScript), "It keeps the boot state where it is not safe: %v.", err)
		return ubootenv.Layout{}, false
	}
	want, err := bootscript.Text(layout)
	if err != nil || want != text {
		i.Notes = append(i.Notes, onBoot(bootScript)+": It is the script of another release of the builder.")
	}
	return layout, true
}

// checkBootAreas looks into the boot area of every slot that has one.
func (i *inspection) checkBootAreas(ctx context.Context, shown *progress.Step) error {
	for _, name := range []string{disk.SlotA, disk.SlotB} {
		p, r := i.partition(name)
		if p == nil {
			continue
		}
		head := make([]byte, sectorBytes)
		if _, err := r.ReadAt(head, 0); err == nil && allZero(head) && name != i.defaultSlot {
			continue // empty, as on a new disk
		}
		release := &Release{Entry: name, Default: name == i.defaultSlot, Sections: []Section{}, where: in(name, bootscript.SlotScript), only: name}
		i.Releases = append(i.Releases, release)
		if err := i.checkBootArea(ctx, release, name, r, p.Size); err != nil {
			return err
		}
		shown.Detail("kernel %s", release.Kernel)
	}
	if len(i.Releases) == 0 {
		i.find("disk", "No slot has a boot area.")
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (i *inspection) checkBootArea(ctx context.Context, r *Release, name string, slot *io.SectionReader, size int64) error {
	r.Size, r.areaUsed = 0, checkFAT(i.Report, name, slot, size)
	area, err := fat.Open(slot, size)
	if err != nil {
		i.find(name, "Its boot area cannot be read: %v.", err)
		return nil
	}
	count, clusterBytes := area.Clusters()
	r.Size = count * clusterBytes // of the files that it has room for
	head := make([]byte, sectorBytes)
	if _, err := slot.ReadAt(head, 0); err != nil {
		i.find(name, "Its boot area cannot be read: %v.", err)
		return nil
	}
	// All sectors of the file system (FAT specification, section 3.1).
	r.areaEnd = int64(binary.LittleEndian.Uint32(head[32:])) * int64(binary.LittleEndian.Uint16(head[11:]))
	script, ok := i.slotScript(name, area)
	if !ok {
		return nil
	}
	r.CommandLine = script.arguments
	r.Architecture = "arm64"
	i.Architecture = r.Architecture
	for n, file := range []string{bootscript.Kernel, bootscript.Initramfs} {
		where := in(name, file)
		contents, length, err := openBoot(area, file)
		if err != nil || length > maxKernel {
			i.find(where, "It cannot be read: %d bytes, %v.", length, err)
			return nil
		}
		r.Sections = append(r.Sections, Section{file, length})
		sum := crc32.NewIEEE()
		if _, err := io.Copy(sum, io.NewSectionReader(contents, 0, length)); err != nil {
			i.find(where, "It cannot be read: %v.", err)
			return nil
		}
		if sum.Sum32() != script.sums[n] {
			i.find(where, "It has the checksum %08x, and %s says %08x: U-Boot does not start it.", sum.Sum32(), bootscript.SlotScript, script.sums[n])
		}
		reader := io.NewSectionReader(contents, 0, length)
		if file == bootscript.Initramfs {
			if err := i.checkInitramfs(ctx, r, where, reader); err != nil {
				return err
			}
			continue
		}
		i.checkImage(r, where, reader, script.addresses)
	}
	i.checkDeviceTrees(name, area)
	return nil
}

// slotScript is what a slot's script says.
type slotScript struct {
	arguments string
	sums      [2]uint32 // of kernel and initramfs
	addresses map[string]int64
}

func (i *inspection) slotScript(name string, area *fat.FS) (slotScript, bool) {
	var s slotScript
	where := in(name, bootscript.SlotScript)
	contents, size, err := openBoot(area, bootscript.SlotScript)
	if err != nil || size > maxConfig {
		i.find(where, "It cannot be read: %d bytes, %v.", size, err)
		return s, false
	}
	b := make([]byte, size)
	if _, err := contents.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		i.find(where, "It cannot be read: %v.", err)
		return s, false
	}
	text, err := bootscript.Script(b)
	if err != nil {
		i.find(where, "It is no script for U-Boot: %v.", err)
		return s, false
	}
	arguments, sums := saysArguments.FindStringSubmatch(text), saysSum.FindAllStringSubmatch(text, -1)
	if arguments == nil || len(sums) != len(s.sums) {
		i.find(where, "It does not start a kernel as the builder's does.")
		return s, false
	}
	s.arguments, s.addresses = arguments[1], map[string]int64{}
	for n, sum := range sums {
		v, _ := strconv.ParseUint(sum[1], 16, 32) // eight digits
		s.sums[n] = bits.ReverseBytes32(uint32(v))
	}
	for _, a := range saysAddress.FindAllStringSubmatch(text, -1) {
		s.addresses[a[1]], _ = strconv.ParseInt(a[2], 16, 64) // fifteen digits at the most
	}
	return s, true
}

// checkImage checks an arm64 kernel (Linux, arch/arm64/booting.rst) and that it
// has room in memory where the script puts it.
func (i *inspection) checkImage(r *Release, where string, linux *io.SectionReader, addresses map[string]int64) {
	head := make([]byte, 64)
	if _, err := linux.ReadAt(head, 0); err != nil || string(head[56:60]) != "ARM\x64" {
		i.find(where, "It is no arm64 kernel, or it is compressed: U-Boot does not start it.")
		return
	}
	found, err := kernelRelease(linux)
	if err != nil {
		i.find(where, "The release of its kernel cannot be read: %v.", err)
	}
	r.Kernel = found
	var takes uint64
	for n := range 8 {
		takes |= uint64(head[16+n]) << (8 * n)
	}
	at, ok := addresses["kernel_addr_r"]
	if !ok {
		return
	}
	// U-Boot moves it up to a multiple of 2 MiB (arch/arm/lib/image.c).
	const step = 2 << 20
	end := (at+step-1)/step*step + int64(min(takes, 1<<40))
	for name, other := range addresses {
		if name != "kernel_addr_r" && other >= at && other < end {
			i.find(in(r.Entry, bootscript.SlotScript), "It puts the kernel at byte %d of memory, where it takes %d bytes, and %s is %d.", at, takes, name, other)
		}
	}
}

// checkDeviceTrees checks those in a slot, and that the processor's boot loader
// on this disk is of their family.
func (i *inspection) checkDeviceTrees(name string, area *fat.FS) {
	found := 0
	err := fs.WalkDir(area, bootscript.DeviceTrees, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		contents, size, err := openBoot(area, file)
		if err == nil {
			err = wholeFDT(contents, size)
		}
		if err != nil {
			i.find(in(name, file), "It is no device tree: %v.", err)
		}
		if of := familyOf(file); i.family != "" && of != i.family {
			i.find(in(name, file), "It is for boards of %s, and the boot loader on this disk is of %s.", of, i.family)
		}
		return nil
	})
	if err != nil || found == 0 {
		i.find(in(name, bootscript.DeviceTrees), "There are no device trees: %v.", err)
	}
}
