package uki

import (
	"fmt"
	"io"
)

// Image is a unified kernel image, or any other 64-bit EFI program, opened
// for reading.
type Image struct {
	Machine  Machine
	Sections []Section // in the order of the section table
}

// Section is one named part of an image.
type Section struct {
	Name string
	Size int64 // bytes of contents in the file
	// Padded says that the section takes more memory than its contents. Then
	// the contents may end in up to one file alignment (512 bytes) of zeros.
	Padded bool

	contents io.ReaderAt
	offset   int64
}

// Open reads the headers of the image in the first size bytes of r. No part
// of a section is read before it is asked for.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, fmt.Errorf("open EFI image: %w", err)
	}
	image := &Image{Machine: h.machine}
	for _, s := range h.sections {
		image.Sections = append(image.Sections, Section{
			Name:     s.name(),
			Size:     int64(min(s.VirtualSize, s.RawSize)),
			Padded:   s.VirtualSize > s.RawSize,
			contents: r,
			offset:   int64(s.RawOffset),
		})
	}
	return image, nil
}

// Section returns the first section of that name, which is the one a boot
// stub uses.
func (i *Image) Section(name string) (Section, error) {
	for _, s := range i.Sections {
		if s.Name == name {
			return s, nil
		}
	}
	return Section{}, fmt.Errorf("EFI image has no section %s", name)
}

// Reader returns the contents.
func (s Section) Reader() *io.SectionReader {
	return io.NewSectionReader(s.contents, s.offset, s.Size)
}

// maxText is more than any command line or os-release has.
const maxText = 64 << 10

// Text returns the contents of a section that holds text, such as .cmdline,
// .osrel or .uname. It fails on more than 64 KiB.
func (i *Image) Text(name string) (string, error) {
	s, err := i.Section(name)
	if err != nil {
		return "", err
	}
	if s.Size > maxText {
		return "", fmt.Errorf("section %s has %d bytes: text of at most %d is expected", name, s.Size, maxText)
	}
	b := make([]byte, s.Size)
	if _, err := io.ReadFull(s.Reader(), b); err != nil {
		return "", fmt.Errorf("read section %s: %w", name, err)
	}
	return string(b), nil
}
