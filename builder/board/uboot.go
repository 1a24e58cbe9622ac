package board

import (
	"path"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/strictyaml"
	"github.com/skerry-os/skerry/ubootenv"
)

// RawFile is a file that the processor's ROM, or what it loads, reads at a fixed
// place of the disk.
type RawFile struct {
	// The file in the boot loader's package.
	File string `yaml:"file" required:"true" jsonschema:"pattern=^/"`
	// Where it goes, from the start of the disk: before partition boot.
	Offset strictyaml.Size `yaml:"offset" required:"true"`
}

// BootFile is a file on partition boot. It comes from a package, from the
// kernel's device trees or from the board's folder.
type BootFile struct {
	// Its path on partition boot.
	Path string `yaml:"path" required:"true" jsonschema:"minLength=1"`
	// Package that it comes from.
	Package string `yaml:"package" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// The file in the package.
	File string `yaml:"file" jsonschema:"pattern=^/"`
	// A device tree of the kernel's package, as in broadcom/bcm2711-rpi-4-b.dtb.
	DeviceTree string `yaml:"deviceTree" jsonschema:"pattern=^[A-Za-z0-9].*[.]dtb$"`
	// A file of the board's folder. One that ends in .dts is compiled.
	Source string `yaml:"source" jsonschema:"minLength=1"`
}

// Addresses are where U-Boot loads what it starts, in memory. What is left out is U-Boot's choice.
type Addresses struct {
	// Of the kernel.
	Kernel strictyaml.Size `yaml:"kernel"`
	// Of the device tree.
	DeviceTree strictyaml.Size `yaml:"deviceTree"`
	// Of the initramfs.
	Initramfs strictyaml.Size `yaml:"initramfs"`
}

// Layout returns where the state of a board with U-Boot is.
func (b Bootloader) Layout() ubootenv.Layout {
	var l ubootenv.Layout
	for i := range min(len(b.State), len(l.Offsets)) {
		l.Offsets[i] = b.State[i].Bytes()
	}
	return l
}

// Packages returns the packages that the boot loader and its files come from.
func (b Bootloader) Packages() []string {
	var names []string
	if b.Package != "" {
		names = append(names, b.Package)
	}
	for _, f := range b.Files {
		if f.Package != "" {
			names = append(names, f.Package)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// uboot checks what only boards with U-Boot have.
func (c checks) uboot(board *Board) {
	b := &board.Bootloader
	for i, f := range b.Raw {
		p := strictyaml.Path("bootloader.raw").Index(i)
		c.file(p.Key("file"), f.File)
		if f.Offset < 512 || f.Offset%512 != 0 || f.Offset >= board.Disk.Start {
			c.Errorf(p.Key("offset"), "found %v: a multiple of 512B before partition boot at disk.start, %v, belongs here, and not the first sector", f.Offset, board.Disk.Start)
		}
	}
	for i, f := range b.Files {
		c.bootFile(strictyaml.Path("bootloader.files").Index(i), board.Name, f, b.Files[:i])
	}
	switch {
	case !c.Has("bootloader.state"):
		c.Errorf("bootloader.state", "this key is missing: U-Boot's script keeps there which slot to boot")
	case len(b.State) != 2:
		c.Errorf("bootloader.state", "found %d places: two belong here", len(b.State))
	default:
		l := b.Layout()
		if err := l.Check(); err != nil {
			c.Errorf("bootloader.state", "%v", err)
		}
		for i, at := range l.Offsets {
			if at+ubootenv.Size > board.Disk.Start.Bytes() {
				c.Errorf(strictyaml.Path("bootloader.state").Index(i), "found %v: it is before partition boot at disk.start, %v", b.State[i], board.Disk.Start)
			}
		}
	}
	if len(b.DeviceTrees) == 0 {
		c.Errorf("bootloader.deviceTrees", "a device tree of the kernel's package belongs here, as in rockchip/rk3328-rock64.dtb")
	}
	for i, name := range b.DeviceTrees {
		c.deviceTree(strictyaml.Path("bootloader.deviceTrees").Index(i), name)
	}
	for key, at := range map[strictyaml.Path]strictyaml.Size{"kernel": b.Addresses.Kernel, "deviceTree": b.Addresses.DeviceTree, "initramfs": b.Addresses.Initramfs} {
		if p := "bootloader.addresses." + key; at%(2*strictyaml.MiB) != 0 || c.Has(p) && at == 0 {
			c.Errorf(p, "found %v: a multiple of 2MiB belongs here", at)
		}
	}
}

func (c checks) bootFile(p strictyaml.Path, name string, f BootFile, before []BootFile) {
	if !isRelative(f.Path) {
		c.Errorf(p.Key("path"), "found %.80q: a path on partition boot belongs here, as in overlays/x.dtbo", f.Path)
	}
	if slices.ContainsFunc(before, func(other BootFile) bool { return strings.EqualFold(other.Path, f.Path) }) {
		c.Errorf(p.Key("path"), "found %.80q twice: FAT does not tell case apart", f.Path)
	}
	sources := 0
	if f.Package != "" || f.File != "" {
		sources++
		c.packageName(p.Key("package"), f.Package)
		c.file(p.Key("file"), f.File)
		if f.Package == "" || f.File == "" {
			c.Errorf(p, "package and file belong together")
		}
	}
	if f.DeviceTree != "" {
		sources++
		c.deviceTree(p.Key("deviceTree"), f.DeviceTree)
	}
	if f.Source != "" {
		sources++
		if !isRelative(f.Source) || !exists(c.fsys, path.Join(boardsDir, name, f.Source)) {
			c.Errorf(p.Key("source"), "found %.80q: there is no %s/%s/%.80s", f.Source, boardsDir, name, f.Source)
		}
	}
	if sources != 1 {
		c.Errorf(p, "one of package with file, deviceTree, and source belongs here")
	}
}

func (c checks) deviceTree(p strictyaml.Path, name string) {
	if !isRelative(name) || path.Ext(name) != ".dtb" {
		c.Errorf(p, "found %.80q: a device tree of the kernel's package belongs here, as in rockchip/rk3328-rock64.dtb", name)
	}
}

// isRelative reports whether s is a path below some folder that nothing needs to
// be quoted in.
func isRelative(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !consistsOf(strings.ToLower(part), "_-.+") {
			return false
		}
	}
	return len(s) <= 128
}
