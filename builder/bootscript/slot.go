package bootscript

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Names in a slot's boot area.
const (
	// SlotScript is the slot's own script.
	SlotScript = "slot.scr"
	// Kernel is an arm64 Image, not compressed.
	Kernel = "Image"
	// Initramfs is a cpio archive without U-Boot's header.
	Initramfs = "initramfs"
	// DeviceTrees is the folder of device trees, by ${fdtfile}.
	DeviceTrees = "dtb"
)

//go:embed slot.cmd
var slotCmd string

// Slot is what a slot's script is made of.
type Slot struct {
	// Arguments are the kernel's, but for those of boot.scr.
	Arguments string
	// KernelCRC and InitramfsCRC are the CRC-32 (IEEE) of the files.
	KernelCRC, InitramfsCRC uint32
	// DeviceTree is taken where neither the firmware hands one over nor U-Boot's
	// ${fdtfile} names one in the slot, as in rockchip/rk3328-rock64.dtb. There
	// may be none, if the firmware always hands one over.
	DeviceTree string
	// Addresses are where the files are loaded in memory. Zeros leave it to U-Boot.
	Addresses Addresses
}

// Addresses in memory, in bytes.
type Addresses struct{ Kernel, Initramfs, DeviceTree int64 }

// Text returns the script as U-Boot's shell reads it.
func (s Slot) Text() (string, error) {
	// In quotes the shell expands $ and takes \ for itself.
	if strings.ContainsAny(s.Arguments+s.DeviceTree, "\"\\$\n'") {
		return "", fmt.Errorf("U-Boot's shell would change the kernel's arguments %q: they cannot have quotes, backslashes and dollars", s.Arguments)
	}
	if strings.ContainsAny(s.DeviceTree, " ;&|") {
		return "", errors.New("the name of a device tree has blanks")
	}
	var addresses strings.Builder
	for _, a := range []struct {
		variable string
		at       int64
	}{
		{"kernel_addr_r", s.Addresses.Kernel}, {"ramdisk_addr_r", s.Addresses.Initramfs}, {"fdt_addr_r", s.Addresses.DeviceTree},
	} {
		if a.at != 0 {
			fmt.Fprintf(&addresses, "setenv %s %#x\n", a.variable, a.at)
		}
	}
	// U-Boot's crc32 stores big endian, and its itest reads what the processor,
	// which is little endian here, finds there (cmd/itest.c, lib/crc32.c).
	crc := func(n uint32) string { return fmt.Sprintf("%08x", bits.ReverseBytes32(n)) }
	return strings.NewReplacer(
		"@ADDRESSES@\n", addresses.String(),
		"@KERNEL@", Kernel,
		"@KERNELCRC@", crc(s.KernelCRC),
		"@INITRAMFS@", Initramfs,
		"@INITRAMFSCRC@", crc(s.InitramfsCRC),
		"@DEVICETREE@", s.DeviceTree,
		"@DEVICETREES@", DeviceTrees,
		"@ARGUMENTS@", s.Arguments,
	).Replace(slotCmd), nil
}

// Script returns the text in an image that [Image] made. It fails if that is
// damaged.
func Script(image []byte) (string, error) {
	if len(image) < headerBytes+8 || binary.BigEndian.Uint32(image) != magic {
		return "", errors.New("it is no image that U-Boot's mkimage makes")
	}
	if !validImage(image) {
		return "", errors.New("its checksums are wrong")
	}
	length := binary.BigEndian.Uint32(image[headerBytes:])
	text := image[headerBytes+8:]
	if image[30] != script || uint64(length) > uint64(len(text)) {
		return "", errors.New("it is no script")
	}
	return string(text[:length]), nil
}
