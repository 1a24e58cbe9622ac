// Package distribution is the form in which the single binary is downloaded
// for machines that are not made from an image: one file, which unpacks itself
// once, when it is installed.
//
//	launcher   a small program, which pays no heed to what is behind it
//	archive    a tar archive, compressed with zstd (RFC 8878)
//	trailer    64 bytes: where the archive begins, its length and its SHA-256
//
// The archive begins with the manifest, which names every file behind it with
// its size and digest. It is written beside the files, so that what is
// installed can be compared at any time.
//
// The package makes the file, opens it, unpacks it and compares. Where the
// files go, and what is started, is package standalone's affair.
package distribution

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxWindow is how far back in the archive, in bytes, the decompressor may have
// to look. It is the memory that unpacking takes.
const MaxWindow = 128 << 20

// trailer ends the file. Numbers are big-endian.
type trailer struct {
	Magic  [16]byte
	Offset int64 // of the archive, in bytes from the start of the file
	Length int64 // of the archive, in bytes
	SHA256 [sha256.Size]byte
}

const trailerBytes = 64

var magic = [16]byte([]byte("skerry archive 1"))

// ErrNoArchive is what a file says that ends in no trailer.
var ErrNoArchive = errors.New("it has no archive at its end: it is no distribution, or the download was cut short: download it again")

// Assemble writes a distribution: the launcher, the compressed archive and the
// trailer.
func Assemble(w io.Writer, launcher, archive io.Reader) error {
	offset, err := io.Copy(w, launcher)
	if err != nil {
		return err
	}
	t := trailer{Magic: magic, Offset: offset}
	sum := sha256.New()
	if t.Length, err = io.Copy(io.MultiWriter(w, sum), archive); err != nil {
		return err
	}
	sum.Sum(t.SHA256[:0])
	return binary.Write(w, binary.BigEndian, t)
}

// File is a distribution that is open for reading.
type File struct {
	file    *os.File
	trailer trailer
}

// Open opens a distribution. It does not read the archive; see Check.
func Open(name string) (*File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	f := &File{file: file}
	if err := f.readTrailer(); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (f *File) readTrailer() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	end := info.Size() - trailerBytes
	if end < 0 {
		return ErrNoArchive
	}
	if err := binary.Read(io.NewSectionReader(f.file, end, trailerBytes), binary.BigEndian, &f.trailer); err != nil {
		return err
	}
	t := f.trailer
	if t.Magic != magic || t.Offset < 0 || t.Length < 0 || t.Offset > end || t.Length != end-t.Offset {
		return ErrNoArchive
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Digest is the SHA-256 of the archive in hexadecimal, as the trailer has it.
func (f *File) Digest() string { return hex.EncodeToString(f.trailer.SHA256[:]) }

// Size is the length of the compressed archive in bytes.
func (f *File) Size() int64 { return f.trailer.Length }

// archive returns a reader of the compressed archive.
func (f *File) archive() io.Reader {
	return io.NewSectionReader(f.file, f.trailer.Offset, f.trailer.Length)
}

// Check compares the archive with the digest in the trailer.
func (f *File) Check() error {
	sum := sha256.New()
	if _, err := io.Copy(sum, f.archive()); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), f.trailer.SHA256[:]) {
		return fmt.Errorf("%s: the archive is damaged: download the file again", f.file.Name())
	}
	return nil
}
