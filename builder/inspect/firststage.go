package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// span is a part of the disk that something is in.
type span struct {
	what        string
	offset, end int64
}

func (s span) overlaps(o span) bool { return s.offset < o.end && o.offset < s.end }

const (
	rockchipAt    = 64 * sectorBytes    // the ROM looks for an ID block here
	rockchipFITAt = 16384 * sectorBytes // and the SPL for U-Boot
	// Allwinner's ROM looks at 8 KiB first; later ones look here, too.
	allwinnerAt   = 256 * sectorBytes
	maxSPL        = 1 << 20
	allwinnerSeed = 0x5f0a6c39
)

// rockchipMagic is 0x0FF0AA55, encrypted as the ROM expects it (U-Boot,
// tools/rkcommon.c).
var rockchipMagic = []byte{0x3b, 0x8c, 0xdc, 0xfc}

// checkFirstStage looks for what the ROM of some family starts, and returns what
// it takes of the disk. The families are named as their folders of device trees.
func (i *inspection) checkFirstStage() (family string, taken []span) {
	head := make([]byte, len(rockchipMagic))
	if _, err := i.image.ReadAt(head, rockchipAt); err == nil && bytes.Equal(head, rockchipMagic) {
		return "rockchip", i.checkRockchip()
	}
	egon := make([]byte, 32)
	if _, err := i.image.ReadAt(egon, allwinnerAt); err == nil && string(egon[4:12]) == "eGON.BT0" {
		return "allwinner", i.checkAllwinner(egon)
	}
	if i.boot != nil {
		if _, err := i.boot.Stat("config.txt"); err == nil {
			i.checkRaspberryPi()
			return "broadcom", nil
		}
	}
	i.find("disk", "Nothing is where a processor looks for its boot loader: neither Rockchip's at byte %d, nor Allwinner's at byte %d, nor config.txt of a Raspberry Pi on partition boot.",
		rockchipAt, allwinnerAt)
	return "", nil
}

// checkRockchip looks for U-Boot where the SPL does.
func (i *inspection) checkRockchip() []span {
	return []span{
		{"the boot loader's first part", rockchipAt, rockchipAt + int64(len(rockchipMagic))},
		i.checkFIT(rockchipFITAt, i.Size),
	}
}

// checkAllwinner checks the header and checksum that the ROM checks (U-Boot,
// include/sunxi_image.h), and looks for U-Boot behind the SPL.
func (i *inspection) checkAllwinner(egon []byte) []span {
	const what = "the boot loader's first part"
	length := binary.LittleEndian.Uint32(egon[16:])
	if length < 32 || length > maxSPL || length%4 != 0 {
		i.find("disk", "%s at byte %d says that it has %d bytes: the processor does not start it.", what, allwinnerAt, length)
		return nil
	}
	b := make([]byte, length)
	if _, err := i.image.ReadAt(b, allwinnerAt); err != nil {
		i.find("disk", "%s cannot be read: %v.", what, err)
		return nil
	}
	want := binary.LittleEndian.Uint32(b[12:])
	binary.LittleEndian.PutUint32(b[12:], allwinnerSeed)
	var sum uint32
	for n := 0; n < len(b); n += 4 {
		sum += binary.LittleEndian.Uint32(b[n:])
	}
	if sum != want {
		i.find("disk", "%s at byte %d has the checksum %08x, and says %08x: the processor does not start it.", what, allwinnerAt, sum, want)
	}
	// The SPL is padded, and U-Boot follows.
	end := allwinnerAt + int64(length)
	return []span{{what, allwinnerAt, end}, i.checkFIT(end&^(sectorBytes-1), end+128<<10)}
}

// checkFIT looks for U-Boot proper from one sector on and before another one.
func (i *inspection) checkFIT(from, before int64) span {
	const what = "U-Boot"
	magic := make([]byte, 4)
	for at := from; at < min(before, from+maxSPL); at += sectorBytes {
		if _, err := i.image.ReadAt(magic, at); err != nil {
			break
		}
		if binary.BigEndian.Uint32(magic) != fdtMagic {
			continue
		}
		tree, size, err := readFDT(io.NewSectionReader(i.image, at, i.Size-at))
		if err != nil {
			i.find("disk", "%s at byte %d is damaged: %v.", what, at, err)
			return span{what, at, at + sectorBytes}
		}
		return span{what, at, at + tree.fitEnd(size)}
	}
	i.find("disk", "There is no U-Boot from byte %d on: what the processor starts finds nothing.", from)
	return span{what, from, from + sectorBytes}
}

// checkRaspberryPi checks the files that the Pi 4's firmware reads
// (raspberrypi.com/documentation, "Boot folder contents" and "config.txt").
func (i *inspection) checkRaspberryPi() {
	i.wantMagic("start4.elf", []byte("\x7fELF"), "a program for the Pi's GPU")
	i.wantMagic("fixup4.dat", nil, "")
	text, err := i.readBoot("config.txt")
	if err != nil {
		i.find(onBoot("config.txt"), "It cannot be read: %v.", err)
		return
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		settings[key] = value
		if key == "dtoverlay" {
			name, _, _ := strings.Cut(value, ",")
			i.checkDeviceTree(onBoot("overlays/"+name+".dtbo"), "overlays/"+name+".dtbo")
		}
	}
	kernel := settings["kernel"]
	if kernel == "" {
		i.find(onBoot("config.txt"), "It does not say kernel=: the firmware looks for a kernel of its own.")
	} else {
		i.wantMagic(kernel, nil, "")
	}
	if settings["arm_64bit"] == "0" {
		i.find(onBoot("config.txt"), "It says arm_64bit=0, and U-Boot and kernel have 64 bits.")
	}
	trees, err := fs.Glob(i.boot, "bcm2711-rpi-*.dtb")
	if err != nil || !slices.Contains(trees, "bcm2711-rpi-4-b.dtb") {
		i.find(onBoot("bcm2711-rpi-4-b.dtb"), "The device tree is missing: the firmware has none to hand on.")
	}
	for _, name := range trees {
		i.checkDeviceTree(onBoot(name), name)
	}
}

// wantMagic checks that a file is on partition boot, is not empty and begins so.
func (i *inspection) wantMagic(name string, magic []byte, what string) {
	contents, size, err := openBoot(i.boot, name)
	if err != nil || size == 0 {
		i.find(onBoot(name), "The file is missing, empty or unreadable: the board does not start.")
		return
	}
	b := make([]byte, len(magic))
	if _, err := contents.ReadAt(b, 0); err != nil || !bytes.Equal(b, magic) {
		i.find(onBoot(name), "It is not %s.", what)
	}
}

// checkDeviceTree checks a device tree or an overlay on partition boot.
func (i *inspection) checkDeviceTree(where, name string) {
	contents, size, err := openBoot(i.boot, name)
	if err == nil {
		err = wholeFDT(contents, size)
	}
	if err != nil {
		i.find(where, "It is no device tree: %v.", err)
	}
}

// wholeFDT reads a device tree that is to fill a file.
func wholeFDT(r io.ReaderAt, size int64) error {
	_, length, err := readFDT(io.NewSectionReader(r, 0, size))
	if err == nil && length > size {
		err = fmt.Errorf("it has %d of %d bytes", size, length)
	}
	return err
}

// checkSpans checks that nothing outside of partitions overlaps them or each
// other.
func (i *inspection) checkSpans(taken []span) {
	all := slices.Clone(taken)
	for _, p := range i.Partitions {
		all = append(all, span{"partition " + p.Name, p.Offset, p.Offset + p.Size})
	}
	for n, a := range taken {
		if a.offset < sectorBytes {
			i.find("disk", "%s is over the partition table.", a.what)
		}
		for _, b := range all[n+1:] {
			if a.overlaps(b) {
				i.find("disk", "%s, at bytes %d to %d, and %s, at bytes %d to %d, overlap.", a.what, a.offset, a.end, b.what, b.offset, b.end)
			}
		}
	}
}

// familyOf is the family that a device tree in a boot area is for: dtb/FAMILY/….
func familyOf(file string) string { return path.Base(path.Dir(file)) }
