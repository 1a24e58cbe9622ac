// Package uki makes and reads Unified Kernel Images: one EFI program that
// carries a kernel, its initramfs and its command line as sections behind a
// boot stub (UAPI group specification "Unified Kernel Image"; systemd-stub(7),
// version 257).
//
// The same inputs give the same bytes: the stub's own timestamp is kept and
// nothing is added that is not in Options. Signing for Secure Boot is left to
// others; it works on the finished file.
package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Options are the parts of an image. Stub, Kernel, Initramfs, CommandLine and
// OSRelease have to be there.
type Options struct {
	Stub        []byte            // linuxx64.efi.stub or linuxaa64.efi.stub, unsigned
	Kernel      *io.SectionReader // a kernel with its own EFI stub: bzImage, or an arm64 Image that is not compressed
	Initramfs   *io.SectionReader
	CommandLine string
	OSRelease   []byte // os-release(5), which boot menus take the title and version from
	Uname       string // of the kernel, as `uname -r` prints it
	Splash      []byte // a BMP image; none if empty
}

// maxCommandLine is COMMAND_LINE_SIZE of x86 and arm64 without the final NUL.
// The kernel cuts what is longer without a word.
const maxCommandLine = 2047

// Section flags (PE format, "Section Flags"), chosen as ukify does.
const (
	flagCode            = 0x00000020
	flagInitializedData = 0x00000040
	flagRead            = 0x40000000
)

// part is one section to be added.
type part struct {
	name     string
	contents *io.SectionReader
	memory   int64 // bytes it takes once loaded, if more than its contents
	flags    uint32
}

// Make writes the image to w. It fails when stub and kernel are not PE images
// of the same machine, when the stub is signed or has no room for more
// sections, and when a text has bytes that do not survive the way to the
// kernel.
func Make(w io.Writer, o Options) error {
	if err := write(w, o); err != nil {
		return fmt.Errorf("make unified kernel image: %w", err)
	}
	return nil
}

func write(w io.Writer, o Options) error {
	parts, err := o.parts()
	if err != nil {
		return err
	}
	stub, err := readHeader(bytes.NewReader(o.Stub), int64(len(o.Stub)))
	if err != nil {
		return fmt.Errorf("boot stub: %w", err)
	}
	kernel, err := readHeader(o.Kernel, o.Kernel.Size())
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if stub.machine != kernel.machine {
		return fmt.Errorf("the boot stub is for %v, the kernel for %v", stub.machine, kernel.machine)
	}
	// The kernel's own SizeOfImage includes memory that is zero at its start
	// and not part of the file; a stub that starts it in place needs both.
	linux := &parts[len(parts)-1]
	linux.memory = max(linux.memory, int64(kernel.field(optSizeOfImage)))

	head, added, err := extend(o.Stub, stub, parts)
	if err != nil {
		return fmt.Errorf("boot stub: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for i, p := range parts {
		if _, err := io.Copy(w, io.NewSectionReader(p.contents, 0, p.contents.Size())); err != nil {
			return fmt.Errorf("section %s: %w", p.name, err)
		}
		if _, err := w.Write(make([]byte, int64(added[i].RawSize)-p.contents.Size())); err != nil {
			return err
		}
	}
	return nil
}

// parts returns the sections in the order they get in the file. The kernel is
// the last one, because it is the only one that may take more memory than file.
func (o Options) parts() ([]part, error) {
	if o.Kernel == nil || o.Initramfs == nil {
		return nil, errors.New("kernel and initramfs are needed")
	}
	if err := checkText("command line", o.CommandLine, maxCommandLine); err != nil {
		return nil, err
	}
	if len(o.OSRelease) == 0 || bytes.IndexByte(o.OSRelease, 0) >= 0 {
		return nil, errors.New("os-release is empty or has a NUL byte")
	}
	text := func(b []byte) *io.SectionReader {
		return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
	}
	const data = flagInitializedData | flagRead
	parts := []part{
		{name: ".osrel", contents: text(o.OSRelease), flags: data},
		{name: ".cmdline", contents: text([]byte(o.CommandLine)), flags: data},
	}
	if o.Uname != "" {
		if err := checkText("uname", o.Uname, 64); err != nil {
			return nil, err
		}
		parts = append(parts, part{name: ".uname", contents: text([]byte(o.Uname)), flags: data})
	}
	if len(o.Splash) > 0 {
		parts = append(parts, part{name: ".splash", contents: text(o.Splash), flags: data})
	}
	parts = append(parts,
		part{name: ".initrd", contents: o.Initramfs, flags: data},
		part{name: ".linux", contents: o.Kernel, flags: flagCode | flagRead})
	for i := range parts {
		if parts[i].memory = parts[i].contents.Size(); parts[i].memory == 0 {
			return nil, fmt.Errorf("section %s would be empty", parts[i].name)
		}
	}
	return parts, nil
}

// checkText refuses what would change on its way through UTF-16 to the kernel.
func checkText(what, s string, limit int) error {
	if len(s) == 0 || len(s) > limit {
		return fmt.Errorf("%s has %d bytes: 1 to %d can be passed to the kernel", what, len(s), limit)
	}
	for i, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%s has byte %#02x at %d: only printable ASCII reaches the kernel unchanged", what, c, i)
		}
	}
	return nil
}

// extend returns the stub with the parts entered in its section table, padded
// to where the first part begins, and the entries.
func extend(stub []byte, h *header, parts []part) ([]byte, []section, error) {
	inMemory, inFile := int64(h.field(optSectionAlignment)), int64(h.field(optFileAlignment))
	if !isPowerOfTwo(inMemory) || !isPowerOfTwo(inFile) {
		return nil, nil, fmt.Errorf("section alignment %d and file alignment %d are not powers of two", inMemory, inFile)
	}
	if int64(h.field(optNumberOfDirectories)) > securityDirectory &&
		len(h.optional) >= optDirectories+(securityDirectory+1)*8 &&
		h.field(optDirectories+securityDirectory*8) != 0 {
		return nil, nil, errors.New("it is signed, and adding to it would break the signature: use the unsigned stub")
	}

	room, memory := int64(h.field(optSizeOfHeaders)), int64(0)
	for _, s := range h.sections {
		if s.RawSize > 0 {
			room = min(room, int64(s.RawOffset))
		}
		memory = max(memory, int64(s.VirtualAddress)+max(int64(s.VirtualSize), int64(s.RawSize)))
		for _, p := range parts {
			if p.name == s.name() {
				return nil, nil, fmt.Errorf("it has a section %s already: use a stub, not a finished image", p.name)
			}
		}
	}
	tableEnd := h.tableAt + int64(len(h.sections))*sectionBytes
	if need := tableEnd + int64(len(parts))*sectionBytes; need > room {
		return nil, nil, fmt.Errorf("its headers have room up to byte %d, %d more sections need %d", room, len(parts), need)
	}

	file := align(int64(len(stub)), inFile)
	head := make([]byte, file)
	copy(head, stub)
	initialized := int64(h.field(optSizeOfInitializedData))
	added := make([]section, len(parts))
	for i, p := range parts {
		memory = align(memory, inMemory)
		raw := align(p.contents.Size(), inFile)
		if memory+p.memory > math.MaxUint32 || file+raw > math.MaxUint32 {
			return nil, nil, fmt.Errorf("section %s ends beyond 4 GiB, the limit of the PE format", p.name)
		}
		added[i] = section{
			VirtualSize: uint32(p.memory), VirtualAddress: uint32(memory),
			RawSize: uint32(raw), RawOffset: uint32(file),
			Characteristics: p.flags,
		}
		copy(added[i].Name[:], p.name)
		memory += p.memory
		file += raw
		initialized += p.memory
	}

	if _, err := binary.Encode(head[tableEnd:], binary.LittleEndian, added); err != nil {
		return nil, nil, err
	}
	binary.LittleEndian.PutUint16(head[h.optionalAt-coffBytes+6:], uint16(len(h.sections)+len(parts)))
	set := func(at int64, v int64) { binary.LittleEndian.PutUint32(head[h.optionalAt+at:], uint32(v)) }
	set(optSizeOfInitializedData, initialized)
	set(optSizeOfImage, align(memory, inMemory))
	// Zero means "none". UEFI checks none, and signing tools compute their own.
	set(optCheckSum, 0)
	return head, added, nil
}

func isPowerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }

func align(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }
