// Package bootscript makes boot.scr, the script that U-Boot finds on partition
// boot and that chooses the slot to boot, by the state of package ubootenv.
//
// It promises that a trial is booted once, and only after it is cleared on
// the disk; that the default is booted when that cannot be done; and that
// the other slot is taken when one cannot be loaded. Loading and starting a kernel
// is left to the slot's own script, [SlotScript], which is swapped with it: it
// appends ${skerry_args} to its kernel's command line, may use the disk ${devtype}
// ${devnum} and partition ${skerry_part}, and returns if it cannot start
// the kernel.
//
// The buffers are at ${kernel_addr_r} and ${ramdisk_addr_r}, where nothing is yet.
// A script may load over ${scriptaddr}, where it came from itself: U-Boot runs
// a copy. The tests load other scripts there; on the Raspberry Pi 4 it is the
// kernel that reaches beyond it.
package bootscript

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/skerry-os/skerry/ubootenv"
)

// SlotScript is the name of a slot's script in its boot area.
const SlotScript = "slot.scr"

// blockBytes is what U-Boot counts in on SD cards, eMMC and most other disks.
const blockBytes = 512

//go:embed boot.cmd
var bootCmd string

// Text returns the script as U-Boot's shell reads it.
func Text(l ubootenv.Layout) (string, error) {
	if err := l.Check(); err != nil {
		return "", err
	}
	hex := func(n int64) string { return fmt.Sprintf("%x", n) }
	return strings.NewReplacer(
		"@FIRST@", hex(l.Offsets[0]/blockBytes),
		"@SECOND@", hex(l.Offsets[1]/blockBytes),
		"@BLOCKS@", hex(ubootenv.Size/blockBytes),
		"@SIZE@", hex(ubootenv.Size),
		"@SLOTSCRIPT@", SlotScript,
	).Replace(bootCmd), nil
}

// Image wraps a script for U-Boot's `source`, as `mkimage -T script -A arm64 -C
// none -n NAME` does: a legacy image (U-Boot, include/image.h, struct
// legacy_img_hdr) whose contents are a list of lengths and the text. Of the name 32
// bytes are used. The time is when it was made, in seconds.
func Image(name, text string, at time.Time) []byte {
	const (
		headerBytes = 64
		magic       = 0x27051956
		linux       = 5
		arm64       = 22
		script      = 6
		none        = 0
	)
	contents := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	contents = append(contents, 0, 0, 0, 0) // ends the list
	contents = append(contents, text...)

	b := make([]byte, headerBytes, headerBytes+len(contents))
	u32 := func(at int, n uint32) { binary.BigEndian.PutUint32(b[at:], n) }
	u32(0, magic)
	u32(8, uint32(at.Unix()))
	u32(12, uint32(len(contents)))
	u32(24, crc32.ChecksumIEEE(contents))
	b[28], b[29], b[30], b[31] = linux, arm64, script, none
	copy(b[32:], name)            // up to the header's end
	u32(4, crc32.ChecksumIEEE(b)) // of the header, with zeros in its own place
	return append(b, contents...)
}
