// Package bootscript makes the two scripts that U-Boot runs on the way to a kernel.
//
// boot.scr, which U-Boot finds on partition boot, chooses the slot by the state
// of package ubootenv. It promises that a trial is booted once, and only after it
// is cleared on the disk; that the default is booted when that cannot be done; and
// that the other slot is taken when one cannot be loaded. When neither can be, it
// returns, and U-Boot goes on to other disks and to the network.
//
// [SlotScript] lies in a slot's boot area and is swapped with it. It loads kernel,
// initramfs and device tree from there, appends ${skerry_args} to its command line,
// and starts the kernel. It promises to return, and not to start anything, if one
// of the files is missing or kernel or initramfs are not what the builder put
// there: an update that was cut off is noticed before it boots.
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

// blockBytes is what U-Boot counts in on SD cards, eMMC and most other disks.
const blockBytes = 512

//go:embed boot.cmd
var bootCmd string

// Text returns boot.scr as U-Boot's shell reads it.
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
		"@STATE@", l.String(),
		"@SLOTSCRIPT@", SlotScript,
	).Replace(bootCmd), nil
}

// Of a legacy image (U-Boot, include/image.h, struct legacy_img_hdr).
const (
	headerBytes = 64
	magic       = 0x27051956
	linux       = 5
	arm64       = 22
	script      = 6
	none        = 0
)

// Image wraps a script for U-Boot's `source`, as `mkimage -T script -A arm64 -C
// none -n NAME` does: a legacy image (U-Boot, include/image.h, struct
// legacy_img_hdr) whose contents are a list of lengths and the text. Of the name 32
// bytes are used. The time is when it was made, in seconds.
func Image(name, text string, at time.Time) []byte {
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

// validImage compares the checksums of header and contents.
func validImage(image []byte) bool {
	header := append([]byte(nil), image[:headerBytes]...)
	want := binary.BigEndian.Uint32(header[4:])
	binary.BigEndian.PutUint32(header[4:], 0)
	size := binary.BigEndian.Uint32(header[12:])
	contents := image[headerBytes:]
	return crc32.ChecksumIEEE(header) == want && uint64(size) == uint64(len(contents)) &&
		crc32.ChecksumIEEE(contents) == binary.BigEndian.Uint32(header[24:])
}
