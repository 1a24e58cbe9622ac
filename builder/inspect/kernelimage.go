package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/skerry-os/skerry/builder/elfdeps"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/uki"
	"github.com/skerry-os/skerry/release"
)

// checkKernelImages looks into every kernel image on partition boot.
func (i *inspection) checkKernelImages(ctx context.Context, shown *progress.Step) error {
	if i.uboot {
		return i.checkBootAreas(ctx, shown)
	}
	for _, r := range i.Releases {
		if err := i.checkKernelImage(ctx, r); err != nil {
			return err
		}
		if r.Default {
			i.Board, i.Version = r.Board, r.Version
		}
		shown.Detail("kernel %s", r.Kernel)
	}
	return nil
}

func (i *inspection) checkKernelImage(ctx context.Context, r *Release) error {
	where := onBoot(path.Join(entryFolder, r.Entry))
	file, size, err := openBoot(i.boot, path.Join(entryFolder, r.Entry))
	if err != nil {
		i.find(where, "It cannot be read: %v.", err)
		return nil
	}
	r.Size = size
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		i.find(where, "It cannot be read: %v.", err)
		return nil
	}
	r.SHA256 = hex.EncodeToString(sum.Sum(nil))
	image, err := uki.Open(file, size)
	if err != nil {
		i.find(where, "It is no EFI program: %v.", err)
		return nil
	}
	for _, s := range image.Sections {
		r.Sections = append(r.Sections, Section{s.Name, s.Size})
	}
	i.checkMachine(r, where, image)
	i.checkTexts(r, where, image)
	if linux, err := image.Section(".linux"); err != nil {
		i.find(where, "It has no section .linux.")
	} else {
		i.checkKernel(r, where, image.Machine, linux.Reader())
	}
	initrd, err := image.Section(".initrd")
	if err != nil {
		i.find(where, "It has no section .initrd.")
		return nil
	}
	return i.checkInitramfs(ctx, r, where, initrd.Reader())
}

// checkMachine checks that firmware that starts the loader can start this too.
func (i *inspection) checkMachine(r *Release, where string, image *uki.Image) {
	t, ok := targetOf(image.Machine)
	if !ok {
		i.find(where, "It is for %v, and no board is.", image.Machine)
		return
	}
	r.Architecture = t.goarch
	if i.Architecture == "" { // no loader, which is a finding already
		i.Architecture = t.goarch
	} else if i.Architecture != t.goarch {
		i.find(where, "It is for %s, the loader on this disk for %s.", t.goarch, i.Architecture)
	}
}

// checkTexts reads the sections with text and compares them with the file's name.
func (i *inspection) checkTexts(r *Release, where string, image *uki.Image) {
	texts := map[string]string{}
	for _, name := range []string{".cmdline", ".osrel", ".uname"} {
		text, err := image.Text(name)
		if err != nil {
			i.find(where, "Its section %s cannot be read: %v.", name, err)
		}
		texts[name] = strings.TrimRight(text, "\x00")
	}
	r.CommandLine, r.Kernel = texts[".cmdline"], strings.TrimSpace(texts[".uname"])
	fields := osRelease(texts[".osrel"])
	r.Version, r.Board = fields["VERSION_ID"], fields["VARIANT_ID"]
	if texts[".osrel"] == "" {
		return
	}
	if _, err := release.ParseVersion(r.Version); err != nil {
		i.find(where, "Its section .osrel has no valid VERSION_ID: %v.", err)
	} else if want := "skerry-" + r.Version + ".efi"; !strings.EqualFold(r.Entry, want) {
		i.find(where, "It is release %s, whose file is called %s.", r.Version, want)
	}
	r.osRelease = fields
}

// checkKernel compares the kernel with the section .uname, by which boot menus
// and the rest of this package know it.
func (i *inspection) checkKernel(r *Release, where string, machine uki.Machine, linux *io.SectionReader) {
	kernel, err := uki.Open(linux, linux.Size())
	if err != nil {
		i.find(where, "Its section .linux has no EFI boot stub: %v.", err)
		return
	}
	if kernel.Machine != machine {
		i.find(where, "It is for %v, its section .linux for %v.", machine, kernel.Machine)
	}
	found, err := kernelRelease(linux)
	if err != nil {
		i.find(where, "The release of its kernel cannot be read: %v.", err)
		return
	}
	if found != r.Kernel {
		i.find(where, "Its section .uname says %q, and its kernel is %s.", r.Kernel, found)
	}
}

// banner is what init/version.c has before the release.
const banner = "Linux version "

// kernelRelease returns what `uname -r` prints under a kernel. An x86 bzImage
// says it in its setup header (Linux, arch/x86/boot.rst, kernel_version); an
// arm64 Image is not compressed and has the banner in it.
func kernelRelease(linux *io.SectionReader) (string, error) {
	const setupBytes = 0x210
	head := make([]byte, setupBytes)
	if _, err := linux.ReadAt(head, 0); err == nil && string(head[0x202:0x206]) == "HdrS" {
		text := make([]byte, 256)
		at := int64(binary.LittleEndian.Uint16(head[0x20e:])) + 0x200
		if n, err := linux.ReadAt(text, at); n == 0 {
			return "", fmt.Errorf("its version is to be at byte %d: %w", at, err)
		}
		return firstWord(text), nil
	}
	const window = 1 << 20
	b := make([]byte, window+256)
	for at := int64(0); at < linux.Size(); at += window {
		n, err := linux.ReadAt(b, at)
		if err != nil && err != io.EOF {
			return "", err
		}
		if _, after, ok := bytes.Cut(b[:n], []byte(banner)); ok {
			return firstWord(after[:min(len(after), 128)]), nil
		}
	}
	return "", fmt.Errorf("there is no %q in it", banner)
}

func firstWord(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	word, _, _ := strings.Cut(string(b), " ")
	return word
}

// checkInitramfs unpacks the initramfs and checks what runs from it.
func (i *inspection) checkInitramfs(ctx context.Context, r *Release, where string, initrd io.Reader) error {
	where += ": initramfs"
	files, err := unpackInitramfs(ctx, initrd, maxInitramfs)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		i.find(where, "It cannot be unpacked: %v.", err)
		return nil
	}
	r.InitramfsFiles = len(files.Paths())
	if r.InitramfsBytes, err = files.Size(); err != nil {
		return err
	}
	i.checkInit(where, files, "init")
	i.checkModules(where, files, r.Kernel)
	return i.checkArchitectures(ctx, where, files, r.Architecture)
}

// goarchOf is elfdeps.Architecture with a name for those that have none.
func goarchOf(r io.ReaderAt) (string, bool, error) {
	arch, isELF, err := elfdeps.Architecture(r)
	if isELF && arch == "" {
		arch = "a machine that no board has"
	}
	return arch, isELF, err
}
