package builder

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/hosttool"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/ubootenv"
)

const (
	// bootAreaBytes is the size of the FAT file system at the start of a slot image
	// on boards with U-Boot: Debian's kernel has 38 MB, and an initramfs may
	// become as large. It is fixed, so that the root does not move within a slot.
	bootAreaBytes = 96 << 20
	// bootScript is what U-Boot looks for on partition boot.
	bootScript = "boot.scr"
)

// bootAreaTime is the time of all that is made for U-Boot: the same in every
// release, so that one that did not change has the same bytes. FAT begins then.
var bootAreaTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// rootOffset is where a slot image of the board has its root file system.
func rootOffset(b *board.Board) int64 {
	if b.Bootloader.Kind == board.BootUBoot {
		return bootAreaBytes
	}
	return 0
}

// makeBootArea puts kernel, initramfs, device trees and the script that starts
// them into a slot image that has a root already.
func (b *build) makeBootArea(ctx context.Context, shown *progress.Step) error {
	area, err := b.bootArea()
	if err != nil {
		return err
	}
	contents, err := area.Digest()
	if err != nil {
		return err
	}
	id := uuid.NewSHA1(namespace, []byte("boot area "+b.board.Name)).ID()
	key := cache.NewKey("boot area", 1).Add("root", b.slot.Key).Add("area", contents).Add("id", fmt.Sprint(id))
	b.slot, err = b.file(ctx, shown, "slot-image", key, func(path string) error {
		if err := disk.Copy(ctx, path, b.slot.Path); err != nil {
			return err
		}
		image, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer image.Close()
		options := fat.Options{Label: "SKERRY-SLOT", VolumeID: id, Time: bootAreaTime}
		if err := disk.MakeFAT(ctx, image, 0, bootAreaBytes, area, options); err != nil {
			return fmt.Errorf("the boot area of a slot: %w", err)
		}
		return image.Close()
	})
	if err != nil {
		return err
	}
	used, err := area.Size()
	if err != nil {
		return err
	}
	shown.Detail("%s of %s in the boot area", progress.Size(used), progress.Size(bootAreaBytes))
	return nil
}

// bootArea puts together what the boot area of a slot holds.
func (b *build) bootArea() (*tree.Tree, error) {
	area := tree.New()
	script := bootscript.Slot{
		Arguments:  b.commandLine(),
		DeviceTree: b.board.Bootloader.DeviceTrees[0],
		Addresses: bootscript.Addresses{
			Kernel:     b.board.Bootloader.Addresses.Kernel.Bytes(),
			Initramfs:  b.board.Bootloader.Addresses.Initramfs.Bytes(),
			DeviceTree: b.board.Bootloader.Addresses.DeviceTree.Bytes(),
		},
	}
	for _, file := range []struct {
		name, source string
		sum          *uint32
	}{
		{bootscript.Kernel, b.kernel.Image, &script.KernelCRC},
		{bootscript.Initramfs, b.initramfs.Path, &script.InitramfsCRC},
	} {
		contents, err := os.ReadFile(file.source)
		if err != nil {
			return nil, err
		}
		*file.sum = crc32.ChecksumIEEE(contents)
		if err := area.AddSource(file.name, 0o644, file.source); err != nil {
			return nil, err
		}
	}
	for _, name := range b.board.Bootloader.DeviceTrees {
		source, err := b.deviceTree(name)
		if err != nil {
			return nil, err
		}
		if err := area.AddSource(path.Join(bootscript.DeviceTrees, name), 0o644, source); err != nil {
			return nil, err
		}
	}
	text, err := script.Text()
	if err != nil {
		return nil, err
	}
	return area, area.AddBytes(bootscript.SlotScript, 0o644, bootscript.Image("skerry slot", text, bootAreaTime))
}

// deviceTree returns a device tree of the kernel's package.
func (b *build) deviceTree(name string) (string, error) {
	file := filepath.Join(b.kernel.DeviceTrees, filepath.FromSlash(name))
	if _, err := os.Stat(file); b.kernel.DeviceTrees == "" || err != nil {
		return "", fmt.Errorf("package %s has no device tree %s", b.kernelPackage, name)
	}
	return file, nil
}

// addUBoot adds what U-Boot and the firmware before it read on partition boot.
func (b *build) addUBoot(ctx context.Context, boot *tree.Tree) error {
	text, err := bootscript.Text(b.board.Bootloader.Layout())
	if err != nil {
		return err
	}
	if err := boot.AddBytes(bootScript, 0o644, bootscript.Image("skerry", text, bootAreaTime)); err != nil {
		return err
	}
	for _, f := range b.board.Bootloader.Files {
		contents, err := b.bootFile(ctx, f)
		if err != nil {
			return err
		}
		if err := boot.AddBytes(f.Path, 0o644, contents); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) bootFile(ctx context.Context, f board.BootFile) ([]byte, error) {
	switch {
	case f.Package != "":
		return b.readFile(f.Package, f.File)
	case f.DeviceTree != "":
		name, err := b.deviceTree(f.DeviceTree)
		if err != nil {
			return nil, err
		}
		return os.ReadFile(name)
	}
	name := filepath.Join(b.Source, "boards", b.board.Name, filepath.FromSlash(f.Source))
	if path.Ext(f.Source) != ".dts" {
		return os.ReadFile(name)
	}
	var compiled bytes.Buffer
	// -@ keeps the names of nodes that an overlay refers to.
	err := hosttool.Run(ctx, &compiled, "dtc", "-q", "-@", "-I", "dts", "-O", "dtb", name)
	return compiled.Bytes(), err
}

// raw is what is on the disk outside of partitions.
type raw struct {
	name     string
	offset   int64
	contents []byte
}

func (r raw) end() int64 { return r.offset + int64(len(r.contents)) }

// raws returns boot loader and boot state of a board with U-Boot, in their order
// on the disk. None overlaps another.
func (b *build) raws() ([]raw, error) {
	var all []raw
	loader := &b.board.Bootloader
	if loader.Kind != board.BootUBoot {
		return nil, nil
	}
	for _, f := range loader.Raw {
		contents, err := b.readFile(loader.Package, f.File)
		if err != nil {
			return nil, err
		}
		all = append(all, raw{f.File, f.Offset.Bytes(), contents})
	}
	state, err := ubootenv.State{OK: ubootenv.SlotA}.Encode(0)
	if err != nil {
		return nil, err
	}
	for i, at := range loader.Layout().Offsets {
		all = append(all, raw{fmt.Sprintf("copy %d of the boot state", i+1), at, state})
	}
	return all, checkRaws(all)
}

func checkRaws(all []raw) error {
	slices.SortFunc(all, func(a, b raw) int { return int(a.offset - b.offset) })
	for i := range all[:len(all)-1] {
		if a, b := all[i], all[i+1]; a.end() > b.offset {
			return fmt.Errorf("%s ends at byte %d of the disk, and %s begins at byte %d: move it in the board file", a.name, a.end(), b.name, b.offset)
		}
	}
	return nil
}

// digestOfRaws stands for them in the key of a disk image; it is empty if there
// are none.
func digestOfRaws(all []raw) string {
	var text strings.Builder
	for _, r := range all {
		fmt.Fprintf(&text, "%d %s\n", r.offset, digestOf(r.contents))
	}
	return text.String()
}
