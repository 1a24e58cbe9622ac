// Package board reads what images are composed from: boards, overlays and
// module lists. They are data, YAML files in the folders boards and overlays of
// the repository:
//
//	boards/NAME/board.yaml      a kind of hardware, NAME
//	boards/modules/NAME.yaml    a list of kernel modules that boards and overlays share
//	overlays/NAME/overlay.yaml  what an overlay adds to an image
//	overlays/NAME/root/         files for the root tree
//	images/NAME/image.yaml      a container image that nodes carry with them
//
// What is read has been checked for what can be told without packages: names,
// sizes, paths, and that the module lists and overlays that are named exist.
// Whether a package has a file is left to the steps that unpack it.
//
// What differs between boot chains is in bootloader.kind and disk.table, and in
// the keys that belong to one kind only.
package board

import (
	"github.com/skerry-os/skerry/strictyaml"
)

// Board is a kind of hardware that images are made for.
type Board struct {
	// The board's name, which is its folder's.
	Name string `yaml:"name" required:"true" jsonschema:"maxLength=32,pattern=^[a-z0-9][a-z0-9_-]*$"`
	// What hardware this is, in a few words.
	Description string `yaml:"description" required:"true" jsonschema:"minLength=1"`
	// Debian's name of the architecture.
	Architecture string `yaml:"architecture" required:"true" jsonschema:"enum=amd64,enum=arm64"`
	// Where packages come from.
	Debian Debian `yaml:"debian" required:"true"`
	// The kernel and its command line.
	Kernel Kernel `yaml:"kernel" required:"true"`
	// Module lists: files of boards/modules without ".yaml".
	Modules Modules `yaml:"modules" required:"true"`
	// What the firmware starts.
	Bootloader Bootloader `yaml:"bootloader" required:"true"`
	// Programs of packages in the root, with the libraries they need.
	Programs []Program `yaml:"programs"`
	// Go programs that are compiled into the root.
	Go []GoProgram `yaml:"go"`
	// Container images that nodes carry with them: folders of images/.
	Images []string `yaml:"images" jsonschema:"pattern=^[a-z0-9][a-z0-9_-]*$"`
	// Packages that are searched for the firmware files that the modules ask for.
	Firmware []string `yaml:"firmware" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// The disk image.
	Disk Disk `yaml:"disk" required:"true"`
	// Overlays of every image for this board, merged in this order.
	Overlays []string `yaml:"overlays" required:"true" jsonschema:"minItems=1,pattern=^[a-z0-9][a-z0-9_-]*$"`
	// What a person does with the image, a line each, which a build prints. {image} stands for its file.
	Next []string `yaml:"next" jsonschema:"minLength=1"`
}

// Debian says where packages come from. Which mirror has them is the host's affair.
type Debian struct {
	// Name of the release, as in trixie.
	Suite string `yaml:"suite" required:"true" jsonschema:"pattern=^[a-z][a-z0-9-]*$"`
	// Components of the archive that are searched.
	Components []string `yaml:"components" required:"true" jsonschema:"minItems=1,enum=main,enum=contrib,enum=non-free,enum=non-free-firmware"`
}

// Kernel is the kernel and its command line.
type Kernel struct {
	// Package that depends on the newest kernel package, as in linux-image-amd64.
	Package string `yaml:"package" required:"true" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// Arguments on the command line, before those of overlays and of the builder. The last console is /dev/console.
	Arguments []string `yaml:"arguments" jsonschema:"pattern=^[!-~]+$"`
}

// Modules names the module lists of an image.
type Modules struct {
	// Modules in the initramfs: those without which the slot is not found.
	Initramfs []string `yaml:"initramfs" jsonschema:"pattern=^[a-z0-9][a-z0-9_-]*$"`
	// Modules in the root.
	Root []string `yaml:"root" jsonschema:"pattern=^[a-z0-9][a-z0-9_-]*$"`
}

// Kinds of boot loaders.
const (
	BootUEFI  = "uefi"  // systemd-boot starts a unified kernel image
	BootUBoot = "uboot" // U-Boot runs the builder's scripts, which start a kernel out of a slot
)

// Bootloader is what the firmware starts, or what is the firmware.
type Bootloader struct {
	// The boot chain: uefi or uboot.
	Kind string `yaml:"kind" required:"true" jsonschema:"enum=uefi,enum=uboot"`
	// Package with the boot loader.
	Package string `yaml:"package" required:"true" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// UEFI: the boot loader in the package: an EFI program.
	Loader string `yaml:"loader" jsonschema:"pattern=^/"`
	// UEFI: the EFI stub in the package that becomes the unified kernel image.
	Stub string `yaml:"stub" jsonschema:"pattern=^/"`
	// UEFI: where on partition boot the firmware looks for the boot loader (UEFI 2.10, section 3.5.1.1), as in EFI/BOOT/BOOTX64.EFI.
	Path string `yaml:"path" jsonschema:"pattern=^EFI/BOOT/BOOT[A-Z0-9]+[.]EFI$"`
	// U-Boot: files of the package at fixed places of the disk, outside of partitions.
	Raw []RawFile `yaml:"raw"`
	// U-Boot: files on partition boot besides the builder's own.
	Files []BootFile `yaml:"files"`
	// U-Boot: where the two copies of the boot state are, from the start of the disk: at least 4MiB apart, outside of everything else.
	State []strictyaml.Size `yaml:"state"`
	// U-Boot: device trees of the kernel's package that come with each slot. U-Boot's variable fdtfile chooses; the first is taken where it says nothing.
	DeviceTrees []string `yaml:"deviceTrees" jsonschema:"pattern=^[A-Za-z0-9].*[.]dtb$"`
	// U-Boot: where in memory it loads what it starts, if its own places are too close to each other.
	Addresses Addresses `yaml:"addresses"`
}

// Program is what is taken from a package.
type Program struct {
	// Name of the package.
	Package string `yaml:"package" required:"true" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// Absolute paths of the files taken. Shared libraries that they need come with them.
	Files []string `yaml:"files" required:"true" jsonschema:"minItems=1,pattern=^/"`
}

// GoProgram is a command that is compiled into the root.
type GoProgram struct {
	// What is compiled: a folder of the repository, as in ./cmd/skerry, or a package of a module that go.mod names as a tool.
	Package string `yaml:"package" required:"true" jsonschema:"pattern=^[A-Za-z0-9.][A-Za-z0-9._~/-]*$"`
	// Absolute path of the program in the root.
	File string `yaml:"file" required:"true" jsonschema:"pattern=^/"`
	// Build tags (go help buildconstraint).
	Tags []string `yaml:"tags" jsonschema:"pattern=^[A-Za-z0-9_.]+$"`
	// Compile C too, with the host's cross compiler and the libraries of the board's Debian release, all linked in.
	CGO bool `yaml:"cgo"`
	// Packages with the headers and static libraries that its C needs beside libc's, as in libseccomp-dev.
	Libraries []string `yaml:"libraries" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
}

// Kinds of partition tables.
const (
	TableGPT = "gpt" // GUID partition table
	TableMBR = "mbr" // master boot record, with four primary partitions
)

// Disk is the disk image. Partition data is made at first boot and is not in it.
type Disk struct {
	// The partition table: gpt, or mbr on boards with U-Boot.
	Table string `yaml:"table" required:"true" jsonschema:"enum=gpt,enum=mbr"`
	// Where the first partition starts, a multiple of 1MiB. Before it is what the processor's ROM reads, and the boot state. With gpt it is 1MiB.
	Start strictyaml.Size `yaml:"start"`
	// Size of partition boot: a multiple of 1MiB, 64MiB at least.
	Boot strictyaml.Size `yaml:"boot" required:"true"`
	// Size of each of the two slots: a multiple of 1MiB, 64MiB at least, with half as much again as the slot image has now.
	Slot strictyaml.Size `yaml:"slot" required:"true"`
}

// Overlay is what is added to the images of a board.
type Overlay struct {
	// Name of its folder.
	Name string `yaml:"-"`
	// What it adds, in a few words.
	Description string `yaml:"description" required:"true" jsonschema:"minLength=1"`
	// Programs of packages in the root, with the libraries they need.
	Programs []Program `yaml:"programs"`
	// Go programs that are compiled into the root.
	Go []GoProgram `yaml:"go"`
	// Container images that nodes carry with them: folders of images/.
	Images []string `yaml:"images" jsonschema:"pattern=^[a-z0-9][a-z0-9_-]*$"`
	// Packages that are searched for the firmware files that the modules ask for.
	Firmware []string `yaml:"firmware" jsonschema:"pattern=^[a-z0-9][a-z0-9.+-]+$"`
	// Additions to the kernel's command line.
	Kernel OverlayKernel `yaml:"kernel"`
	// Further module lists.
	Modules Modules `yaml:"modules"`
}

// OverlayKernel is what an overlay adds to the kernel.
type OverlayKernel struct {
	// Arguments on the command line, after the board's.
	Arguments []string `yaml:"arguments" jsonschema:"pattern=^[!-~]+$"`
}

// ModuleList is a list of kernel modules for one purpose. What its entries mean
// is defined by package kernel.
type ModuleList struct {
	// What the modules are for.
	Description string `yaml:"description" required:"true" jsonschema:"minLength=1"`
	// Modules for every architecture: names, or patterns of paths below kernel/.
	Modules []string `yaml:"modules" jsonschema:"minLength=1"`
	// Modules for amd64 besides those.
	AMD64 []string `yaml:"amd64" jsonschema:"minLength=1"`
	// Modules for arm64 besides those.
	ARM64 []string `yaml:"arm64" jsonschema:"minLength=1"`
}

// For returns the entries for an architecture, as Debian names it.
func (l *ModuleList) For(architecture string) []string {
	entries := append([]string(nil), l.Modules...)
	switch architecture {
	case "amd64":
		return append(entries, l.AMD64...)
	case "arm64":
		return append(entries, l.ARM64...)
	}
	return entries
}
