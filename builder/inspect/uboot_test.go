package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/disk"
	mkerofs "github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/initramfs"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/ubootenv"
	"github.com/skerry-os/skerry/verity"
)

const (
	ubootStart   = 10 << 20 // of partition boot in test images
	ubootAreaLen = 34 << 20
	ubootSlotAt  = ubootStart + 34<<20
)

var ubootTestLayout = ubootenv.Layout{Offsets: [2]int64{1 << 20, 6 << 20}}

// ubootParts are what a small image of a board with U-Boot is made of.
type ubootParts struct {
	*parts
	raw       map[int64][]byte
	state     ubootenv.State
	addresses bootscript.Addresses
	tree      string // name of the device tree
	area      map[string][]byte
}

// newUBootParts returns the parts of an image without findings: one of an
// Allwinner board.
func newUBootParts(t testing.TB) *ubootParts {
	p := &ubootParts{parts: newParts(t, "arm64"), state: ubootenv.State{OK: ubootenv.SlotA}, tree: "allwinner/sun50i.dtb"}
	p.boot = tree.New()
	spl := make([]byte, 8<<10)
	binary.LittleEndian.PutUint32(spl[16:], uint32(len(spl)))
	copy(spl[4:], "eGON.BT0")
	spl[100] = 7
	binary.LittleEndian.PutUint32(spl[12:], allwinnerSeed)
	var sum uint32
	for n := 0; n < len(spl); n += 4 {
		sum += binary.LittleEndian.Uint32(spl[n:])
	}
	binary.LittleEndian.PutUint32(spl[12:], sum)
	p.raw = map[int64][]byte{allwinnerAt: spl, allwinnerAt + 40<<10: compile(t, fitSource("0x1000"))}
	copy(p.kernel[56:], "ARM\x64")
	binary.LittleEndian.PutUint64(p.kernel[16:], 3<<20)
	p.area = map[string][]byte{bootscript.Kernel: p.kernel}
	return p
}

// fitSource is a FIT image whose contents are behind it.
func fitSource(size string) string {
	return `/dts-v1/; / { images { uboot { data-offset = <0>; data-size = <` + size + `>; }; }; };`
}

func compile(t testing.TB, source string) []byte {
	t.Helper()
	cmd := exec.Command("dtc", "-q", "-I", "dts", "-O", "dtb")
	cmd.Stdin = strings.NewReader(source)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dtc: %v (`make deps` installs it)", err)
	}
	return out
}

func (p *ubootParts) image() string {
	p.t.Helper()
	ctx := context.Background()
	dir := p.t.TempDir()
	rootPath, slotPath := filepath.Join(dir, "root"), filepath.Join(dir, "slot")
	size, err := mkerofs.Make(ctx, mkerofs.Options{Tree: p.root, Output: rootPath, UUID: testSeed,
		Time: time.Unix(0, 0), Compression: p.pack, WorkDir: dir})
	p.ok(err)
	root, err := os.ReadFile(rootPath)
	p.ok(err)
	p.ok(os.WriteFile(slotPath, append(make([]byte, ubootAreaLen), root...), 0o600))
	slot, err := os.OpenFile(slotPath, os.O_RDWR, 0)
	p.ok(err)
	defer slot.Close()
	params, err := verity.Append(ctx, slot, ubootAreaLen, size, []byte("salt"))
	p.ok(err)

	var packed bytes.Buffer
	p.ok(initramfs.Make(ctx, p.initram, &packed))
	script, err := bootscript.Slot{
		Arguments: "console=ttyS0 " + verity.Parameter + "=" + params.String(), DeviceTree: p.tree, Addresses: p.addresses,
		KernelCRC: crc32.ChecksumIEEE(p.kernel), InitramfsCRC: crc32.ChecksumIEEE(packed.Bytes()),
	}.Text()
	p.ok(err)
	area := tree.New()
	for name, contents := range map[string][]byte{
		bootscript.Initramfs: packed.Bytes(), bootscript.SlotScript: bootscript.Image("slot", script, testTime),
		bootscript.DeviceTrees + "/" + p.tree: compile(p.t, `/dts-v1/; / { compatible = "x"; };`),
	} {
		if _, given := p.area[name]; !given {
			p.ok(area.AddBytes(name, 0o644, contents))
		}
	}
	for name, contents := range p.area {
		if contents != nil {
			p.ok(area.AddBytes(name, 0o644, contents))
		}
	}
	p.ok(disk.MakeFAT(ctx, slot, 0, ubootAreaLen, area, fat.Options{Label: "SLOT", VolumeID: 2, Time: testTime}))

	text, err := bootscript.Text(ubootTestLayout)
	p.ok(err)
	if _, given := p.boot.Get(bootScript); !given {
		p.ok(p.boot.AddBytes(bootScript, 0o644, bootscript.Image("skerry", text, testTime)))
	}
	name := filepath.Join(dir, "skerry-1.2.0-test.img")
	image, err := disk.Create(name, disk.Layout{Seed: testSeed, MBR: true, Start: ubootStart, Partitions: []disk.Spec{
		{Name: disk.Boot, Type: disk.EFISystem, Size: 34 << 20},
		{Name: disk.SlotA, Type: disk.LinuxData, Size: 48 << 20},
		{Name: disk.SlotB, Type: disk.LinuxData, Size: 48 << 20},
	}})
	p.ok(err)
	defer image.Close()
	p.ok(image.MakeBoot(ctx, p.boot, fat.Options{Label: "SKERRY-BOOT", VolumeID: 1, Time: testTime}))
	p.ok(image.Fill(ctx, disk.SlotA, slot))
	for at, contents := range p.raw {
		p.ok(image.WriteRaw(contents, at))
	}
	state, err := p.state.Encode(0)
	p.ok(err)
	for _, at := range ubootTestLayout.Offsets {
		p.ok(image.WriteRaw(state, at))
	}
	return name
}

func TestGoodImagesWithUBootHaveNoFindings(t *testing.T) {
	r := report(t, newUBootParts(t).image())
	if got := findings(r); got != "" {
		t.Errorf("a good image has findings:\n%s", got)
	}
	if r.Version != testVersion || r.Board != "arm64" || r.Architecture != "arm64" || len(r.Releases) != 1 || len(r.Partitions) != 3 || len(r.DiskID) != 8 {
		t.Fatalf("report is %+v", r)
	}
	release := r.Releases[0]
	if !release.Default || release.Entry != disk.SlotA || release.Kernel != testKernel || release.Slot == nil || release.Slot.Modules != 2 {
		t.Fatalf("release is %+v", release)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"boot area     slot-a", testKernel, release.Slot.RootHash, "\nno findings\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
}

func TestWhatIsWrongWithImagesWithUBootIsFound(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*ubootParts)
		spoil  func(image string)
		want   string
	}{
		{name: "first part", spoil: func(image string) { flip(t, image, allwinnerAt+100) }, want: "has the checksum"},
		{name: "length of the first part", spoil: func(image string) { patch(t, image, allwinnerAt+16, []byte{1, 0, 0, 0}) }, want: "says that it has 1 bytes"},
		{name: "nothing to start", change: func(p *ubootParts) { p.raw = nil }, want: "Nothing is where a processor looks"},
		{name: "no U-Boot", change: func(p *ubootParts) { delete(p.raw, allwinnerAt+40<<10) }, want: "There is no U-Boot"},
		{name: "U-Boot over the boot state", change: func(p *ubootParts) { p.raw[allwinnerAt+40<<10] = compile(t, fitSource("0x200000")) },
			want: "copy 1 of the boot state, at bytes 1048576 to 1052672, overlap"},
		{name: "U-Boot over partition boot", change: func(p *ubootParts) { p.raw[allwinnerAt+40<<10] = compile(t, fitSource("0xa00000")) },
			want: "and partition boot, at bytes 10485760"},
		{name: "damaged U-Boot", spoil: func(image string) { patch(t, image, allwinnerAt+40<<10+4, []byte{0xff}) }, want: "U-Boot at byte 172032 is damaged"},
		{name: "no script", change: func(p *ubootParts) { p.ok(p.boot.AddBytes(bootScript, 0o644, []byte("x"))) }, want: "boot: boot.scr: It is no script"},
		{name: "script without state", change: func(p *ubootParts) {
			p.ok(p.boot.AddBytes(bootScript, 0o644, bootscript.Image("x", "reset\n", testTime)))
		},
			want: "does not say where the boot state is"},
		{name: "state", spoil: func(image string) { flip(t, image, ubootTestLayout.Offsets[1]+7) }, want: "boot state: copy 2 of the U-Boot state, at byte 6291456"},
		{name: "default without a boot area", change: func(p *ubootParts) { p.state.OK = ubootenv.SlotB }, want: "slot-b: Its boot area cannot be read"},
		{name: "kernel", change: func(p *ubootParts) { p.area[bootscript.Kernel] = append(bytes.Clone(p.kernel), 0) }, want: "slot-a: Image: It has the checksum"},
		{name: "no kernel", change: func(p *ubootParts) { p.area[bootscript.Kernel] = nil }, want: "slot-a: Image: It cannot be read"},
		{name: "compressed kernel", change: func(p *ubootParts) { p.kernel[56] = 0 }, want: "slot-a: Image: It is no arm64 kernel"},
		{name: "no initramfs", change: func(p *ubootParts) { p.area[bootscript.Initramfs] = nil }, want: "slot-a: initramfs: It cannot be read"},
		{name: "no script in the slot", change: func(p *ubootParts) { p.area[bootscript.SlotScript] = nil }, want: "slot-a: slot.scr: It cannot be read"},
		{name: "device tree", change: func(p *ubootParts) { p.area["dtb/allwinner/sun50i.dtb"] = []byte("x") }, want: "slot-a: dtb/allwinner/sun50i.dtb: It is no device tree"},
		{name: "cut device tree", change: func(p *ubootParts) {
			whole := compile(t, `/dts-v1/; / { compatible = "x"; };`)
			p.area["dtb/allwinner/sun50i.dtb"] = whole[:len(whole)-1]
		}, want: "slot-a: dtb/allwinner/sun50i.dtb: It is no device tree"},
		{name: "of another family", change: func(p *ubootParts) { p.tree = "rockchip/rk3328.dtb" }, want: "It is for boards of rockchip, and the boot loader on this disk is of allwinner"},
		{name: "no room in memory", change: func(p *ubootParts) { p.addresses = bootscript.Addresses{Kernel: 512 << 10, Initramfs: 5<<20 - 1} },
			want: "It puts the kernel at byte 524288 of memory, where it takes 3145728 bytes, and ramdisk_addr_r is 5242879"},
		{name: "root", spoil: func(image string) { flip(t, image, ubootSlotAt+ubootAreaLen+5000) }, want: "slot-a: It is not what its root hash says"},
		{name: "type", spoil: func(image string) { patch(t, image, 446+16+4, []byte{0x0c}) }, want: "slot-a: The partition has type 0x0c and not 0x83"},
		{name: "active partition", spoil: func(image string) { patch(t, image, 446, []byte{0}) }, want: "boot: Its mark of the active partition is 0x00"},
		{name: "overlap", spoil: func(image string) { patch(t, image, 446+32+8, peek(t, image, 446+16+8, 4)) }, want: `slot-b: It overlaps partition 2 ("slot-a")`},
		{name: "missing", spoil: func(image string) { patch(t, image, 446+32, make([]byte, 16)) }, want: "There is no partition 3, slot-b"},
		{name: "beyond the disk", spoil: func(image string) { patch(t, image, 446+32+12, []byte{0, 0, 0, 1}) }, want: "slot-b: It is at bytes"},
		{name: "no identifier", spoil: func(image string) { patch(t, image, 440, make([]byte, 4)) }, want: "The disk has no identifier"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newUBootParts(t)
			if test.change != nil {
				test.change(p)
			}
			image := p.image()
			if test.spoil != nil {
				test.spoil(image)
			}
			if got := findings(report(t, image)); !strings.Contains(got, test.want) {
				t.Errorf("%q is not found:\n%s", test.want, got)
			}
		})
	}
}

func TestWhatTheFirmwareOfARaspberryPiNeedsIsFound(t *testing.T) {
	pi := func(change map[string]string) string {
		p := newUBootParts(t)
		p.raw, p.tree = nil, "broadcom/bcm2711-rpi-4-b.dtb"
		for name, contents := range map[string]string{
			"start4.elf": "\x7fELFx", "fixup4.dat": "x", "u-boot.bin": "x",
			"config.txt":          "[all]\nkernel=u-boot.bin\narm_64bit=1\n#dtoverlay=no\ndtoverlay=fan,a=1\n",
			"bcm2711-rpi-4-b.dtb": string(compile(t, `/dts-v1/; / { };`)), "overlays/fan.dtbo": string(compile(t, `/dts-v1/; / { };`)),
		} {
			if other, ok := change[name]; ok {
				contents = other
			}
			if contents != "" {
				p.ok(p.boot.AddBytes(name, 0o644, []byte(contents)))
			}
		}
		return findings(report(t, p.image()))
	}
	if got := pi(nil); got != "" {
		t.Errorf("a good image has findings:\n%s", got)
	}
	for _, test := range []struct{ file, contents, want string }{
		{"start4.elf", "", "boot: start4.elf: The file is missing"},
		{"start4.elf", "MZ and more", "boot: start4.elf: It is not a program for the Pi's GPU"},
		{"fixup4.dat", "", "boot: fixup4.dat: The file is missing"},
		{"u-boot.bin", "", "boot: u-boot.bin: The file is missing"},
		{"config.txt", "arm_64bit=1\n", "It does not say kernel="},
		{"config.txt", "kernel=u-boot.bin\narm_64bit=0\n", "It says arm_64bit=0"},
		{"bcm2711-rpi-4-b.dtb", "", "bcm2711-rpi-4-b.dtb: The device tree is missing"},
		{"bcm2711-rpi-4-b.dtb", "x", "bcm2711-rpi-4-b.dtb: It is no device tree"},
		{"overlays/fan.dtbo", "", "overlays/fan.dtbo: It is no device tree"},
	} {
		if got := pi(map[string]string{test.file: test.contents}); !strings.Contains(got, test.want) {
			t.Errorf("%s is %q, and %q is not found:\n%s", test.file, test.contents, test.want, got)
		}
	}
}

func FuzzReadFDT(f *testing.F) {
	f.Add(compile(f, fitSource("16")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tree, size, err := readFDT(bytes.NewReader(b)); err == nil && (size > int64(len(b)) || tree.fitEnd(size) < size) {
			t.Errorf("%d of %d bytes, end %d", size, len(b), tree.fitEnd(size))
		}
	})
}
