package kmod

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	maxSectionBytes = 1 << 20
	maxSections     = 1 << 16
)

// elfLayout has the offsets that differ between 32 and 64 bit (System V ABI,
// chapter "Object Files").
type elfLayout struct {
	order                 binary.ByteOrder
	wide                  bool
	headerSize            int
	shoff                 int // e_shoff
	shentsize             int // e_shentsize; e_shnum and e_shstrndx follow it
	entry                 int // size of a section header
	offset, size, strLink int // sh_offset, sh_size, sh_link
}

func (l *elfLayout) word(b []byte, at int) uint64 {
	if l.wide {
		return l.order.Uint64(b[at:])
	}
	return uint64(l.order.Uint32(b[at:]))
}

// elfSection returns the contents of the first section with this name. Package
// debug/elf makes no promise for hostile files and reads far more than this.
func elfSection(r io.ReaderAt, name string) (string, error) {
	ident := make([]byte, 64)
	n, err := r.ReadAt(ident, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	ident = ident[:n]
	if len(ident) < 52 || string(ident[:4]) != "\x7fELF" {
		return "", errors.New("this is no ELF file")
	}
	layout := elfLayout{headerSize: 52, shoff: 32, shentsize: 46, entry: 40, offset: 16, size: 20, strLink: 24}
	switch ident[4] {
	case 1:
	case 2:
		layout = elfLayout{wide: true, headerSize: 64, shoff: 40, shentsize: 58, entry: 64, offset: 24, size: 32, strLink: 40}
	default:
		return "", fmt.Errorf("unknown ELF class %d", ident[4])
	}
	switch ident[5] {
	case 1:
		layout.order = binary.LittleEndian
	case 2:
		layout.order = binary.BigEndian
	default:
		return "", fmt.Errorf("unknown ELF byte order %d", ident[5])
	}
	if len(ident) < layout.headerSize {
		return "", io.ErrUnexpectedEOF
	}
	if size := int(layout.order.Uint16(ident[layout.shentsize:])); size != layout.entry {
		return "", fmt.Errorf("ELF section headers of %d bytes, want %d", size, layout.entry)
	}
	start := layout.word(ident, layout.shoff)
	count := uint64(layout.order.Uint16(ident[layout.shentsize+2:]))
	names := uint64(layout.order.Uint16(ident[layout.shentsize+4:]))
	if start == 0 {
		return "", errors.New("an ELF file without sections")
	}
	// Numbers that do not fit are in the first section header.
	if count == 0 || names == 0xffff {
		first, err := readAt(r, start, uint64(layout.entry), maxSectionBytes)
		if err != nil {
			return "", err
		}
		if count == 0 {
			count = layout.word(first, layout.size)
		}
		if names == 0xffff {
			names = uint64(layout.order.Uint32(first[layout.strLink:]))
		}
	}
	if count > maxSections || names >= count {
		return "", fmt.Errorf("ELF file with %d sections and their names in section %d", count, names)
	}
	headers, err := readAt(r, start, count*uint64(layout.entry), maxSections*64)
	if err != nil {
		return "", err
	}
	contents := func(i uint64) ([]byte, error) {
		header := headers[i*uint64(layout.entry):]
		return readAt(r, layout.word(header, layout.offset), layout.word(header, layout.size), maxSectionBytes)
	}
	table, err := contents(names)
	if err != nil {
		return "", fmt.Errorf("section names: %w", err)
	}
	want := append([]byte(name), 0)
	for i := range count {
		at := uint64(layout.order.Uint32(headers[i*uint64(layout.entry):]))
		if at >= uint64(len(table)) || !bytes.HasPrefix(table[at:], want) {
			continue
		}
		b, err := contents(i)
		return string(b), err
	}
	return "", fmt.Errorf("no section %s: this is no kernel module", name)
}

// readAt reads what a header speaks of, without trust in its numbers: memory
// is taken for what the file has, not for what it claims.
func readAt(r io.ReaderAt, offset, size, limit uint64) ([]byte, error) {
	if offset > 1<<40 || size > limit {
		return nil, fmt.Errorf("ELF file speaks of %d bytes at offset %d, more than the %d allowed", size, offset, limit)
	}
	b, err := io.ReadAll(io.NewSectionReader(r, int64(offset), int64(size)))
	if err != nil {
		return nil, err
	}
	if uint64(len(b)) != size {
		return nil, fmt.Errorf("%d bytes at offset %d: %w", size, offset, io.ErrUnexpectedEOF)
	}
	return b, nil
}
