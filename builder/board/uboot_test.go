package board_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/strictyaml"
)

const smallUBoot = `name: small
description: the least that a board with U-Boot has
architecture: arm64
debian: {suite: trixie, components: [main]}
kernel: {package: linux-image-arm64}
modules: {initramfs: [a], root: [a]}
bootloader:
  kind: uboot
  package: u-boot-rockchip
  raw: [{file: /usr/lib/u-boot/x/u-boot-rockchip.bin, offset: 32KiB}]
  files: [{path: a.dtb, deviceTree: x/a.dtb}, {path: start.elf, package: raspi-firmware, file: /usr/lib/start.elf}, {path: config.txt, source: config.txt}]
  state: [12MiB, 16MiB]
  deviceTrees: [x/a.dtb]
  addresses: {kernel: 2MiB}
disk: {table: mbr, start: 20MiB, boot: 64MiB, slot: 256MiB}
overlays: [base]
`

func ubootRepository(yaml string) fstest.MapFS {
	fsys := repository(yaml)
	fsys["boards/small/config.txt"] = &fstest.MapFile{Data: []byte("x")}
	return fsys
}

func TestABoardWithUBootIsReadAsItIsWritten(t *testing.T) {
	b, err := board.Load(ubootRepository(smallUBoot), "small")
	if err != nil {
		t.Fatal(err)
	}
	want := board.Bootloader{
		Kind: board.BootUBoot, Package: "u-boot-rockchip",
		Raw: []board.RawFile{{File: "/usr/lib/u-boot/x/u-boot-rockchip.bin", Offset: 32 << 10}},
		Files: []board.BootFile{
			{Path: "a.dtb", DeviceTree: "x/a.dtb"},
			{Path: "start.elf", Package: "raspi-firmware", File: "/usr/lib/start.elf"},
			{Path: "config.txt", Source: "config.txt"},
		},
		State:       []strictyaml.Size{12 << 20, 16 << 20},
		DeviceTrees: []string{"x/a.dtb"},
		Addresses:   board.Addresses{Kernel: 2 << 20},
	}
	if diff := cmp.Diff(want, b.Bootloader); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"raspi-firmware", "u-boot-rockchip"}, b.Bootloader.Packages()); diff != "" {
		t.Error(diff)
	}
	if l := b.Bootloader.Layout(); l.Offsets != [2]int64{12 << 20, 16 << 20} {
		t.Error(l)
	}
}

func TestWrongBoardsWithUBootAreExplained(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"kind: uboot", "kind: uefi", "bootloader.raw: this key belongs to kind uboot"},
		{"package: u-boot-rockchip", "package: u-boot-rockchip\n  path: EFI/BOOT/BOOTAA64.EFI", "bootloader.path: this key belongs to kind uefi"},
		{"offset: 32KiB", "offset: 20MiB", "raw[0].offset: found 20MiB: a multiple of 512B before partition boot"},
		{"offset: 32KiB", "offset: 0B", "raw[0].offset: found 0B: a multiple of 512B"},
		{"offset: 32KiB", "offset: 700B", "raw[0].offset: found 700B: a multiple of 512B"},
		{"path: a.dtb", "path: ../a.dtb", "files[0].path: found"},
		{"path: a.dtb", "path: CONFIG.txt", `files[2].path: found "config.txt" twice`},
		{"deviceTree: x/a.dtb", "deviceTree: x/a.dts", "files[0].deviceTree: found"},
		{"{path: a.dtb, deviceTree: x/a.dtb}", "{path: a.dtb}", "files[0]: one of package with file, deviceTree, and source belongs here"},
		{"{path: a.dtb, deviceTree: x/a.dtb}", "{path: a.dtb, deviceTree: x/a.dtb, source: config.txt}", "files[0]: one of package with file"},
		{"package: raspi-firmware, ", "", "files[1]: package and file belong together"},
		{"source: config.txt", "source: other.txt", "files[2].source: found \"other.txt\": there is no boards/small/other.txt"},
		{"state: [12MiB, 16MiB]", "state: [12MiB]", "bootloader.state: found 1 places: two belong here"},
		{"state: [12MiB, 16MiB]", "state: [12MiB, 14MiB]", "must be 4194304 bytes apart"},
		{"state: [12MiB, 16MiB]", "state: [12MiB, 20MiB]", "state[1]: found 20MiB: it is before partition boot"},
		{"  state: [12MiB, 16MiB]\n", "", "bootloader.state: this key is missing"},
		{"  deviceTrees: [x/a.dtb]\n", "", "bootloader.deviceTrees: a device tree of the kernel's package belongs here"},
		{"kernel: 2MiB", "kernel: 1MiB", "addresses.kernel: found 1MiB: a multiple of 2MiB"},
		{"table: mbr", "table: gpt", "disk.table: found gpt: boards with U-Boot have mbr"},
		{"start: 20MiB, ", "", "disk.start: found 0B: a multiple of 1MiB"},
	} {
		if !strings.Contains(smallUBoot, test.old) {
			t.Fatalf("%q is not in the board", test.old)
		}
		_, err := board.Load(ubootRepository(strings.Replace(smallUBoot, test.old, test.new, 1)), "small")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s:\n%v\nwant %s", test.new, err, test.want)
		}
	}
	for _, key := range []string{"loader", "stub", "path"} {
		lines := strings.Split(small, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "  "+key+":") {
				lines[i] = ""
			}
		}
		_, err := board.Load(repository(strings.Join(lines, "\n")), "small")
		if err == nil || !strings.Contains(err.Error(), "bootloader."+key+": this key is missing") {
			t.Errorf("without %s: %v", key, err)
		}
	}
}
