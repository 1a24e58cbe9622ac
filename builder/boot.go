package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/initramfs"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/builder/uki"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/loaderconf"
	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/verity"
)

// makeInitramfs packs the agent and the modules that lead to the slot.
func (b *build) makeInitramfs(ctx context.Context, shown *progress.Step) error {
	selection, err := b.selectModules(b.board.Modules.Initramfs)
	if err != nil {
		return err
	}
	contents, err := selection.Tree()
	if err != nil {
		return err
	}
	for _, name := range []string{"dev", "proc", "run", "sys", "sysroot"} {
		if err := contents.AddDir(name, 0o755); err != nil {
			return err
		}
	}
	if err := contents.AddSymlink("lib", "usr/lib"); err != nil {
		return err
	}
	if err := contents.AddSource("init", 0o755, b.agent); err != nil {
		return err
	}
	digest, err := contents.Digest()
	if err != nil {
		return err
	}
	made, err := libraries(libraryCpio, libraryZstd)
	if err != nil {
		return err
	}
	key := cache.NewKey("initramfs", 2).Add("tree", digest).Add("libraries", made)
	b.initramfs, err = b.file(ctx, shown, "initramfs", key, func(path string) error {
		return create(path, func(w io.Writer) error { return initramfs.Make(ctx, contents, w) })
	})
	if err != nil {
		return err
	}
	shown.Detail("%s", progress.Size(size(b.initramfs.Path)))
	return nil
}

// commandLine returns the kernel command line of the release.
func (b *build) commandLine() string {
	arguments := slices.Clone(b.board.Kernel.Arguments)
	// With gpt the kernel takes the backup of a partition table whose primary
	// was torn while partition data was added (block/partitions/efi.c).
	if b.board.Disk.Table == board.TableGPT {
		arguments = append(arguments, "gpt")
	}
	return strings.Join(append(arguments, verity.Parameter+"="+b.verity.String()), " ")
}

// makeKernelImage makes what the board's boot chain starts.
func (b *build) makeKernelImage(ctx context.Context, shown *progress.Step) error {
	if b.board.Bootloader.Kind == board.BootUBoot {
		return b.makeBootArea(ctx, shown)
	}
	return b.makeUKI(ctx, shown)
}

// makeUKI puts kernel, initramfs and command line into one EFI program.
func (b *build) makeUKI(ctx context.Context, shown *progress.Step) error {
	stub, err := b.readFile(b.board.Bootloader.Package, b.board.Bootloader.Stub)
	if err != nil {
		return err
	}
	kernelImage, err := os.ReadFile(b.kernel.Image)
	if err != nil {
		return err
	}
	commandLine := b.commandLine()
	key := cache.NewKey("uki", 1).Add("stub", digestOf(stub)).Add("kernel", digestOf(kernelImage)).
		Add("initramfs", b.initramfs.Key).Add("command line", commandLine).Add("os-release", string(b.osRelease()))
	b.uki, err = b.file(ctx, shown, "uki", key, func(path string) error {
		packed, err := os.ReadFile(b.initramfs.Path)
		if err != nil {
			return err
		}
		return create(path, func(w io.Writer) error {
			return uki.Make(w, uki.Options{
				Stub:        stub,
				Kernel:      section(kernelImage),
				Initramfs:   section(packed),
				CommandLine: commandLine,
				OSRelease:   b.osRelease(),
				Uname:       b.kernel.Release,
			})
		})
	})
	if err != nil {
		return err
	}
	shown.Detail("%s", progress.Size(size(b.uki.Path)))
	return nil
}

// Names on partition boot.
const (
	configName = "skerry.yaml"
	ukiFolder  = "EFI/Linux"
	loaderConf = "loader/loader.conf"
)

// bootTree puts together what partition boot holds.
func (b *build) bootTree(ctx context.Context) (*tree.Tree, error) {
	boot := tree.New()
	add := b.addUEFI
	if b.board.Bootloader.Kind == board.BootUBoot {
		add = b.addUBoot
	}
	if err := add(ctx, boot); err != nil {
		return nil, err
	}
	if b.config != nil {
		if err := boot.AddBytes(configName, 0o644, b.config); err != nil {
			return nil, err
		}
	}
	return boot, boot.AddBytes(nodeconfig.ExampleName, 0o644, []byte(nodeconfig.Example()))
}

// addUEFI adds boot loader and kernel image.
func (b *build) addUEFI(_ context.Context, boot *tree.Tree) error {
	loader, err := b.readFile(b.board.Bootloader.Package, b.board.Bootloader.Loader)
	if err != nil {
		return err
	}
	entry := "skerry-" + b.Version + ".efi"
	// The firmware has waited long enough; no menu, and no editor in front of
	// a command line that says which root to trust.
	conf, err := loaderconf.New(entry, "timeout 0", "editor no")
	if err != nil {
		return err
	}
	for name, contents := range map[string][]byte{
		b.board.Bootloader.Path: loader,
		loaderConf:              conf,
	} {
		if err := boot.AddBytes(name, 0o644, contents); err != nil {
			return err
		}
	}
	return boot.AddSource(path.Join(ukiFolder, entry), 0o644, b.uki.Path)
}

// makeDisk composes the disk image: partition table, what is outside of
// partitions, boot, and slot A.
func (b *build) makeDisk(ctx context.Context, shown *progress.Step) error {
	outside, err := b.raws()
	if err != nil {
		return err
	}
	boot, err := b.bootTree(ctx)
	if err != nil {
		return err
	}
	contents, err := boot.Digest()
	if err != nil {
		return err
	}
	seed := uuid.NewSHA1(namespace, []byte("disk "+b.board.Name))
	layout := disk.Layout{Seed: seed, MBR: b.board.Disk.Table == board.TableMBR, Start: b.board.Disk.Start.Bytes(), Partitions: []disk.Spec{
		{Name: disk.Boot, Type: disk.EFISystem, Size: b.board.Disk.Boot.Bytes()},
		{Name: disk.SlotA, Type: disk.LinuxData, Size: b.board.Disk.Slot.Bytes()},
		{Name: disk.SlotB, Type: disk.LinuxData, Size: b.board.Disk.Slot.Bytes()},
	}}
	made, err := libraries(libraryGPT)
	if err != nil {
		return err
	}
	own, err := ownProgram(ctx)
	if err != nil {
		return err
	}
	key := cache.NewKey("disk", 3).Add("program", own).Add("libraries", made).Add("boot", contents).Add("slot", b.slot.Key).
		Add("layout", fmt.Sprint(layout)).Add("outside", digestOfRaws(outside)).Add("time", fmt.Sprint(b.commit.Time.Unix()))
	b.disk = diskImage{key: key.String(), write: func(ctx context.Context, path string) error {
		image, err := disk.Create(path, layout)
		if err != nil {
			return err
		}
		defer image.Close()
		options := fat.Options{Label: "SKERRY-BOOT", VolumeID: seed.ID(), Time: b.commit.Time}
		if err := image.MakeBoot(ctx, boot, options); err != nil {
			return err
		}
		for _, r := range outside {
			if err := image.WriteRaw(r.contents, r.offset); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
		slot, err := os.Open(b.slot.Path)
		if err != nil {
			return err
		}
		defer slot.Close()
		if err := image.Fill(ctx, disk.SlotA, slot); err != nil {
			return err
		}
		return image.Close()
	}}
	if b.stage, err = newStage(ctx, b.Output); err != nil {
		return err
	}
	b.disk.path = filepath.Join(b.stage.dir, "disk")
	return b.makeFormats(ctx, shown)
}

// makeFormats makes the disk image in each format that is asked for.
func (b *build) makeFormats(ctx context.Context, shown *progress.Step) error {
	var bytes int64
	cached := true
	for _, format := range b.Formats {
		made, hit, err := b.convert(ctx, format)
		if err != nil {
			return fmt.Errorf("make the image as %s: %w", format, err)
		}
		b.formats = append(b.formats, made)
		bytes += size(made.Path)
		cached = cached && hit
	}
	if cached {
		shown.Cached()
	}
	shown.Detail("%s", progress.Size(bytes))
	return nil
}

// diskImage is the disk image as it is. It is not kept in the cache: to make it
// takes no longer than to copy it.
type diskImage struct {
	key   string // stands for the contents
	path  string // in the stage
	write func(ctx context.Context, path string) error
	made  bool
}

// file makes the disk image in the stage.
func (d *diskImage) file(ctx context.Context) (artifact, error) {
	if !d.made {
		if err := d.write(ctx, d.path); err != nil {
			return artifact{}, err
		}
		d.made = true
	}
	return artifact{Path: d.path, Key: d.key}, nil
}

// section reads bytes as the part of a file that they stand for.
func section(contents []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(contents), 0, int64(len(contents)))
}

// create makes a file out of what write writes.
func create(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
