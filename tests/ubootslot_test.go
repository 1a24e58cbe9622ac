//go:build system

package tests

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os/exec"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/tests/machine"
)

// Here the real script of a slot runs in Debian's U-Boot, with a kernel that
// switches the machine off.

// offKernel is an arm64 Image (Linux, arch/arm64/booting.rst) that asks the
// firmware to switch the machine off (Arm DEN 0022, SYSTEM_OFF).
func offKernel() []byte {
	b := make([]byte, 4096)
	le := binary.LittleEndian
	le.PutUint32(b, 0x14000010)          // b 64
	le.PutUint64(b[16:], uint64(len(b))) // of memory that it takes
	le.PutUint64(b[24:], 0xa)            // little endian, pages of 4 KiB, anywhere
	copy(b[56:], "ARM\x64")
	for i, instruction := range []uint32{
		0x52800100, // mov w0, #8
		0x72b08000, // movk w0, #0x8400, lsl 16
		0xd4000002, // hvc #0
		0x14000000, // b .
	} {
		le.PutUint32(b[64+4*i:], instruction)
	}
	return b
}

// deviceTree returns a device tree with so many bytes of something in it.
func deviceTree(t *testing.T, bytes int) []byte {
	t.Helper()
	cmd := exec.Command("dtc", "-q", "-I", "dts", "-O", "dtb", "-p", "4096")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; compatible = "x";
		pad = "%s"; chosen { }; memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x10000000>; }; };`, strings.Repeat("x", bytes)))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc: %v (`make deps` installs it)", err)
	}
	return out
}

func TestSlotScriptStartsItsKernelWithTheRightDeviceTree(t *testing.T) {
	first, second := deviceTree(t, 100), deviceTree(t, 200)
	loaded := func(tree []byte) string { return fmt.Sprintf(`^%d bytes read in `, len(tree)) }
	const own = "setenv fdt_addr\nsetenv fdt_addr_r 0x48000000\n"
	for _, tc := range []struct {
		name, before string // what U-Boot's environment has
		change       func(files map[string][]byte)
		lines        []string
		off          bool // the kernel runs
	}{
		{name: "the firmware's", lines: []string{`^Working FDT set to 40000000$`, `^Starting kernel`}, off: true},
		{name: "the one that U-Boot names", before: own + "setenv fdtfile x/second.dtb\n", lines: []string{loaded(second), `^Starting kernel`}, off: true},
		{name: "the first", before: own, lines: []string{loaded(first), `^Starting kernel`}, off: true},
		{name: "the first, where U-Boot names none in the slot", before: own + "setenv fdtfile x/third.dtb\n", lines: []string{loaded(first), `^Starting kernel`}, off: true},
		{name: "none", before: own, change: func(files map[string][]byte) { delete(files, "dtb/x/first.dtb"); delete(files, "dtb/x/second.dtb") },
			lines: []string{`^skerry: slot A cannot be booted$`}},
		{name: "changed kernel", change: func(files map[string][]byte) { files[bootscript.Kernel][4000] ^= 1 },
			lines: []string{`^skerry: Image of slot A is damaged$`, `^skerry: slot A cannot be booted$`}},
		{name: "changed initramfs", change: func(files map[string][]byte) { files[bootscript.Initramfs][0] ^= 1 },
			lines: []string{`^skerry: initramfs of slot A is damaged$`, `^skerry: slot A cannot be booted$`}},
		{name: "no initramfs", change: func(files map[string][]byte) { delete(files, bootscript.Initramfs) }, lines: []string{`^skerry: slot A cannot be booted$`}},
		{name: "no kernel", change: func(files map[string][]byte) { delete(files, bootscript.Kernel) }, lines: []string{`^skerry: slot A cannot be booted$`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timed(t)
			kernel, initramfs := offKernel(), []byte("initramfs")
			text, err := bootscript.Slot{
				Arguments: "console=ttyAMA0", DeviceTree: "x/first.dtb",
				KernelCRC: crc32.ChecksumIEEE(kernel), InitramfsCRC: crc32.ChecksumIEEE(initramfs),
			}.Text()
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{bootscript.Kernel: kernel, bootscript.Initramfs: initramfs, bootscript.SlotScript: scr(text),
				"dtb/x/first.dtb": first, "dtb/x/second.dtb": second}
			if tc.change != nil {
				tc.change(files)
			}
			boot := map[string][]byte{"boot.scr": scr(tc.before + bootText(t, ubootLayout))}
			disk := ubootDisk(t, boot, files, nil)
			putState(t, disk, ubootLayout, [2]string{"A - 0", "A - 0"})
			m := machine.StartUBoot(t, disk, false)
			for _, line := range tc.lines {
				m.Expect(line)
			}
			if tc.off {
				m.ExpectExit()
				return
			}
			// Slot B is empty. U-Boot goes on to its other devices.
			m.Expect(`^skerry: neither slot can be booted: write the image to the disk again$`)
			m.Expect(`(?i)dhcp|pxe|Device 1|No ethernet|=>`)
		})
	}
}
