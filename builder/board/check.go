package board

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/strictyaml"
	"github.com/skerry-os/skerry/verity"
)

// checks reports what cannot be built.
type checks struct {
	*strictyaml.Document
	fsys fs.FS
}

// isName reports whether a board, an overlay or a module list can have the name.
func isName(s string) bool {
	return consistsOf(s, "_-") && len(s) <= 32
}

// isPackage reports whether a Debian package can have the name (Debian Policy 5.6.7).
func isPackage(s string) bool {
	return consistsOf(s, "+-.") && len(s) >= 2 && len(s) <= 128
}

// consistsOf reports whether s has small letters, digits, and extra after the first.
func consistsOf(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (i == 0 || strings.IndexByte(extra, c) < 0) {
			return false
		}
	}
	return s != ""
}

func (c checks) board(b *Board) {
	c.description(b.Description)
	if c.Has("name") && !isName(b.Name) {
		c.Errorf("name", "found %.40q: a name has up to 32 small letters, digits, and _, - after the first", b.Name)
	}
	if c.Has("architecture") && b.Architecture != "amd64" && b.Architecture != "arm64" {
		c.Errorf("architecture", "found %.40q: amd64 or arm64 belongs here", b.Architecture)
	}
	if c.Has("debian.suite") && !consistsOf(b.Debian.Suite, "-") {
		c.Errorf("debian.suite", "found %.40q: the name of a Debian release belongs here, as in trixie", b.Debian.Suite)
	}
	c.notEmpty("debian.components", len(b.Debian.Components))
	for i, component := range b.Debian.Components {
		if !slices.Contains([]string{"main", "contrib", "non-free", "non-free-firmware"}, component) {
			c.Errorf(strictyaml.Path("debian.components").Index(i), "found %.40q: main, contrib, non-free or non-free-firmware belongs here", component)
		}
	}
	c.packageName("kernel.package", b.Kernel.Package)
	c.arguments(b.Kernel.Arguments)
	c.modules(b.Modules)
	for _, key := range []strictyaml.Path{"modules.initramfs", "modules.root"} {
		if c.Has("modules") && !c.Has(key) {
			c.Errorf(key, "this key is missing: an image without modules starts nowhere")
		}
	}
	c.bootloader(b)
	c.programs(b.Programs)
	c.goPrograms(b.Go)
	c.images(b.Images)
	c.firmware(b.Firmware)
	c.disk(&b.Disk, b.Bootloader.Kind)
	c.notEmpty("overlays", len(b.Overlays))
	for i, name := range b.Overlays {
		p := strictyaml.Path("overlays").Index(i)
		if !isName(name) || !exists(c.fsys, path.Join(overlaysDir, name, overlayFile)) {
			c.Errorf(p, "found %.40q: there is no overlays/%.40s/%s", name, name, overlayFile)
		}
		if slices.Index(b.Overlays, name) < i {
			c.Errorf(p, "found %q twice: keep one", name)
		}
	}
}

func (c checks) overlay(o *Overlay) {
	c.description(o.Description)
	c.programs(o.Programs)
	c.goPrograms(o.Go)
	c.images(o.Images)
	c.firmware(o.Firmware)
	c.arguments(o.Kernel.Arguments)
	c.modules(o.Modules)
}

func (c checks) moduleList(l *ModuleList) {
	c.description(l.Description)
	if len(l.Modules)+len(l.AMD64)+len(l.ARM64) == 0 {
		c.Errorf("modules", "the list is empty")
	}
	for key, entries := range map[strictyaml.Path][]string{"modules": l.Modules, "amd64": l.AMD64, "arm64": l.ARM64} {
		for i, entry := range entries {
			if entry == "" || strings.ContainsAny(entry, " \t\r\n") || path.IsAbs(entry) {
				c.Errorf(key.Index(i), "found %.40q: the name of a module or a pattern of paths belongs here", entry)
			}
		}
	}
}

func (c checks) description(text string) {
	if c.Has("description") && (strings.TrimSpace(text) == "" || strings.Contains(strings.TrimSpace(text), "\n")) {
		c.Errorf("description", "one line of text belongs here")
	}
}

func (c checks) notEmpty(p strictyaml.Path, n int) {
	if n == 0 && c.Has(p) {
		c.Errorf(p, "the list is empty")
	}
}

func (c checks) packageName(p strictyaml.Path, name string) {
	if c.Has(p) && !isPackage(name) {
		c.Errorf(p, "found %.40q: the name of a Debian package belongs here", name)
	}
}

func (c checks) firmware(packages []string) {
	for i, name := range packages {
		c.packageName(strictyaml.Path("firmware").Index(i), name)
	}
}

func (c checks) programs(programs []Program) {
	for i, program := range programs {
		p := strictyaml.Path("programs").Index(i)
		c.packageName(p.Key("package"), program.Package)
		c.notEmpty(p.Key("files"), len(program.Files))
		for j, file := range program.Files {
			c.file(p.Key("files").Index(j), file)
		}
	}
}

// file checks an absolute path of a file of a package.
func (c checks) file(p strictyaml.Path, file string) {
	if c.Has(p) && (!path.IsAbs(file) || path.Clean(file) != file || file == "/" || strings.ContainsAny(file, "*?[\\\n\x00")) {
		c.Errorf(p, "found %.80q: the absolute path of one file belongs here, as in /usr/sbin/mke2fs", file)
	}
}

// arguments checks the kernel's arguments. Spaces separate them, and quotes
// would have to be balanced over all of them.
func (c checks) arguments(arguments []string) {
	for i, argument := range arguments {
		p := strictyaml.Path("kernel.arguments").Index(i)
		name, _, _ := strings.Cut(argument, "=")
		switch {
		case argument == "" || len(argument) > 256 || strings.ContainsAny(argument, `"'`) ||
			strings.ContainsFunc(argument, func(r rune) bool { return r <= ' ' || r > '~' }):
			c.Errorf(p, "found %.40q: one argument without spaces and quotes belongs here", argument)
		case name == verity.Parameter:
			c.Errorf(p, "found %.40q: this argument is the builder's", argument)
		}
	}
}

func (c checks) modules(m Modules) {
	for key, lists := range map[strictyaml.Path][]string{"modules.initramfs": m.Initramfs, "modules.root": m.Root} {
		c.notEmpty(key, len(lists))
		for i, name := range lists {
			if !isName(name) || !exists(c.fsys, path.Join(modulesDir, name+".yaml")) {
				c.Errorf(key.Index(i), "found %.40q: there is no %s/%.40s.yaml", name, modulesDir, name)
			}
		}
	}
}

// kindKeys are the keys of bootloader that belong to one kind.
var kindKeys = map[string][]strictyaml.Path{
	BootUEFI:  {"loader", "stub", "path"},
	BootUBoot: {"raw", "files", "state", "deviceTrees", "addresses"},
}

func (c checks) bootloader(board *Board) {
	b := &board.Bootloader
	c.packageName("bootloader.package", b.Package)
	if !c.Has("bootloader.kind") {
		return
	}
	switch b.Kind {
	case BootUEFI:
		c.onlyFor(BootUBoot)
		c.uefi(b)
	case BootUBoot:
		c.onlyFor(BootUEFI)
		c.uboot(board)
	default:
		c.Errorf("bootloader.kind", "found %.40q: uefi or uboot belongs here", b.Kind)
	}
}

// onlyFor refuses the keys of another kind.
func (c checks) onlyFor(other string) {
	for _, key := range kindKeys[other] {
		if p := "bootloader." + key; c.Has(p) {
			c.Errorf(p, "this key belongs to kind %s", other)
		}
	}
}

// uefi checks what only boards with UEFI have.
func (c checks) uefi(b *Bootloader) {
	for _, key := range kindKeys[BootUEFI] {
		if p := "bootloader." + key; !c.Has(p) {
			c.Errorf(p, "this key is missing")
		}
	}
	c.file("bootloader.loader", b.Loader)
	c.file("bootloader.stub", b.Stub)
	if c.Has("bootloader.path") {
		name, ok := strings.CutPrefix(b.Path, "EFI/BOOT/BOOT")
		name, hasSuffix := strings.CutSuffix(name, ".EFI")
		if !ok || !hasSuffix || !consistsOf(strings.ToLower(name), "") || name != strings.ToUpper(name) {
			c.Errorf("bootloader.path", "found %.80q: EFI/BOOT/BOOT…EFI belongs here, as in EFI/BOOT/BOOTX64.EFI", b.Path)
		}
	}
}

// FAT32 needs 65,525 clusters, and with fewer than 64 MiB they would be smaller
// than some firmware can read.
const smallestPartition = 64 * strictyaml.MiB

func (c checks) disk(d *Disk, kind string) {
	switch {
	case !c.Has("disk.table"):
	case d.Table != TableGPT && d.Table != TableMBR:
		c.Errorf("disk.table", "found %.40q: gpt or mbr belongs here", d.Table)
	case kind == BootUEFI && d.Table != TableGPT:
		c.Errorf("disk.table", "found %s: UEFI boards have gpt", d.Table)
	case kind == BootUBoot && d.Table != TableMBR:
		// Allwinner's boot code lies where a GPT has its entries.
		c.Errorf("disk.table", "found %s: boards with U-Boot have mbr", d.Table)
	case d.Table == TableGPT && c.Has("disk.start"):
		c.Errorf("disk.start", "this key belongs to table mbr")
	case d.Table == TableMBR && (d.Start < strictyaml.MiB || d.Start%strictyaml.MiB != 0 || d.Start > strictyaml.GiB):
		c.Errorf("disk.start", "found %v: a multiple of 1MiB from 1MiB to 1GiB belongs here", d.Start)
	}
	for _, partition := range []struct {
		path strictyaml.Path
		size strictyaml.Size
	}{{"disk.boot", d.Boot}, {"disk.slot", d.Slot}} {
		if c.Has(partition.path) && (partition.size < smallestPartition || partition.size%strictyaml.MiB != 0 || partition.size > strictyaml.TiB) {
			c.Errorf(partition.path, "found %v: a multiple of 1MiB from %v to 1TiB belongs here", partition.size, smallestPartition)
		}
	}
}
