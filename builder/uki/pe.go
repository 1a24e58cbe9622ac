package uki

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Machine is the processor a PE image is for (PE format, "Machine types").
type Machine uint16

// The machines Skerry has boards for.
const (
	X8664 Machine = 0x8664
	ARM64 Machine = 0xaa64
)

func (m Machine) String() string {
	switch m {
	case X8664:
		return "x86_64"
	case ARM64:
		return "arm64"
	}
	return fmt.Sprintf("machine %#04x", uint16(m))
}

// Offsets and sizes of the PE format as UEFI uses it: PE32+, little endian
// (Microsoft PE Format, "Optional Header"; UEFI 2.10, section 2.1.1).
const (
	coffBytes    = 24 // signature and COFF header
	sectionBytes = 40

	// within the optional header
	optSizeOfInitializedData = 8
	optSectionAlignment      = 32
	optFileAlignment         = 36
	optSizeOfImage           = 56
	optSizeOfHeaders         = 60
	optCheckSum              = 64
	optNumberOfDirectories   = 108
	optDirectories           = 112
	securityDirectory        = 4 // where a signature's place stands

	// limits on what is read, far above what any kernel or stub has
	maxHeaderOffset = 1 << 20
	maxOptional     = 4096
	maxSections     = 96
)

// header is what is read of a PE image before its sections.
type header struct {
	machine  Machine
	optional []byte
	sections []section

	optionalAt int64 // file offset of the optional header
	tableAt    int64 // file offset of the section table
}

// section is one entry of the section table.
type section struct {
	Name            [8]byte
	VirtualSize     uint32
	VirtualAddress  uint32
	RawSize         uint32
	RawOffset       uint32
	Relocations     uint32
	LineNumbers     uint32
	RelocationCount uint16
	LineNumberCount uint16
	Characteristics uint32
}

func (s section) name() string { return string(bytes.TrimRight(s.Name[:], "\x00")) }

func (h *header) field(at int) uint32 { return binary.LittleEndian.Uint32(h.optional[at:]) }

// readHeader reads the headers of a PE32+ image and checks that every section
// lies within the file.
func readHeader(r io.ReaderAt, size int64) (*header, error) {
	dos := make([]byte, 64)
	if err := readAt(r, dos, 0); err != nil {
		return nil, err
	}
	if dos[0] == 0x1f && dos[1] == 0x8b {
		return nil, errors.New("it is compressed with gzip: unpack it first, the boot stub starts only PE images")
	}
	if dos[0] != 'M' || dos[1] != 'Z' {
		return nil, errors.New("no PE image: the first bytes are not MZ")
	}
	start := int64(binary.LittleEndian.Uint32(dos[0x3c:]))
	if start > maxHeaderOffset {
		return nil, fmt.Errorf("PE header at byte %d: the limit is %d", start, maxHeaderOffset)
	}
	coff := make([]byte, coffBytes)
	if err := readAt(r, coff, start); err != nil {
		return nil, err
	}
	if string(coff[:4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("no PE image: no PE signature at byte %d", start)
	}
	count := int(binary.LittleEndian.Uint16(coff[6:]))
	length := int(binary.LittleEndian.Uint16(coff[20:]))
	if count > maxSections || length < optDirectories || length > maxOptional {
		return nil, fmt.Errorf("PE header has %d sections and %d bytes of optional header: at most %d, and %d to %d, are expected",
			count, length, maxSections, optDirectories, maxOptional)
	}
	h := &header{
		machine:    Machine(binary.LittleEndian.Uint16(coff[4:])),
		optional:   make([]byte, length),
		sections:   make([]section, count),
		optionalAt: start + coffBytes,
		tableAt:    start + coffBytes + int64(length),
	}
	if err := readAt(r, h.optional, h.optionalAt); err != nil {
		return nil, err
	}
	if magic := binary.LittleEndian.Uint16(h.optional); magic != 0x20b {
		return nil, fmt.Errorf("PE magic is %#x: only PE32+ (0x20b) is used by 64-bit firmware", magic)
	}
	table := make([]byte, count*sectionBytes)
	if err := readAt(r, table, h.tableAt); err != nil {
		return nil, err
	}
	if _, err := binary.Decode(table, binary.LittleEndian, h.sections); err != nil {
		return nil, err
	}
	for _, s := range h.sections {
		if s.RawSize > 0 && int64(s.RawOffset)+int64(s.RawSize) > size {
			return nil, fmt.Errorf("section %q ends at byte %d, after the end of the file at %d: is the file truncated?",
				s.name(), int64(s.RawOffset)+int64(s.RawSize), size)
		}
	}
	return h, nil
}

func readAt(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read PE header, %d bytes at %d: %w", len(b), at, err)
	}
	return nil
}
