package distribution

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// WriteArchive writes the archive, not compressed: the manifest, and behind it
// the entries, whose contents open returns. Files with the same contents are
// hard links to the first. The same arguments give the same bytes.
func WriteArchive(w io.Writer, m *Manifest, open func(path string) (io.ReadCloser, error)) error {
	text, err := m.Encode()
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ManifestName, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return err
	}
	twins := m.twins()
	for _, e := range m.Entries {
		if earlier, twin := twins[e.Path]; twin {
			err = out.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: e.Path, Linkname: earlier, Mode: int64(e.Mode.Perm())})
		} else {
			err = writeEntry(out, e, open)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return out.Close()
}

func writeEntry(out *tar.Writer, e Entry, open func(path string) (io.ReadCloser, error)) error {
	header := &tar.Header{Name: e.Path, Mode: int64(e.Mode.Perm()), Size: e.Size, Typeflag: tar.TypeReg}
	switch e.Mode.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, e.Path+"/"
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, e.Target
	}
	if err := out.WriteHeader(header); err != nil || header.Typeflag != tar.TypeReg {
		return err
	}
	contents, err := open(e.Path)
	if err != nil {
		return err
	}
	defer contents.Close()
	sum, _, err := digest(out, contents)
	if err == nil && sum != e.SHA256 {
		err = errors.New("it changed while it was read")
	}
	return err
}

// digest copies and returns the SHA-256 of what it copied and its length.
func digest(w io.Writer, r io.Reader) (sum string, size int64, err error) {
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(w, hash), r)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// Manifest reads the manifest, which is at the start of the archive.
func (f *File) Manifest() (*Manifest, error) {
	a, err := openArchive(f.archive())
	if err != nil {
		return nil, err
	}
	defer a.close()
	return a.manifest, nil
}

// Unpack unpacks the archive into a folder, which must be empty, and compares
// every file with the manifest. When it returns without an error, all of it is
// on the disk. Owner and times are the caller's and the moment.
func (f *File) Unpack(dir string) (*Manifest, error) {
	a, err := openArchive(f.archive())
	if err != nil {
		return nil, err
	}
	defer a.close()
	if err := a.unpack(dir); err != nil {
		return nil, fmt.Errorf("unpack into %s: %w", dir, err)
	}
	return a.manifest, nil
}

// archive is an archive whose manifest has been read.
type archive struct {
	manifest *Manifest
	entries  *tar.Reader
	zstd     *zstd.Decoder
}

func openArchive(r io.Reader) (*archive, error) {
	decoder, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	a := &archive{entries: tar.NewReader(decoder), zstd: decoder}
	header, err := a.entries.Next()
	if err == nil && header.Name != ManifestName {
		err = fmt.Errorf("it begins with %q and not with %s", header.Name, ManifestName)
	}
	if err == nil {
		a.manifest, err = parseManifest(a.entries)
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("archive: %w", err)
	}
	return a, nil
}

func (a *archive) close() { a.zstd.Close() }

func (a *archive) unpack(dir string) error {
	twins := a.manifest.twins()
	for _, e := range a.manifest.Entries {
		header, err := a.entries.Next()
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		earlier, twin := twins[e.Path]
		stored := e.Size
		if twin {
			stored = 0
		}
		if filepath.ToSlash(filepath.Clean(header.Name)) != e.Path || header.Size != stored {
			return fmt.Errorf("the archive has %s of %d bytes where %s has %s of %d bytes", header.Name, header.Size, ManifestName, e.Path, stored)
		}
		if twin {
			if err := os.Link(filepath.Join(dir, filepath.FromSlash(earlier)), filepath.Join(dir, filepath.FromSlash(e.Path))); err != nil {
				return err
			}
			continue
		}
		if err := e.make(filepath.Join(dir, filepath.FromSlash(e.Path)), a.entries); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	if header, err := a.entries.Next(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = fmt.Errorf("the archive has %s, which is not in %s", header.Name, ManifestName)
		}
		return err
	}
	text, err := a.manifest.Encode()
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, ManifestName), 0o644, bytes.NewReader(text)); err != nil {
		return err
	}
	return syncFileSystem(dir)
}

// make makes the entry. Its folder exists: the manifest was checked.
func (e Entry) make(name string, contents io.Reader) error {
	switch e.Mode.Type() {
	case fs.ModeDir:
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
		return os.Chmod(name, e.Mode.Perm())
	case fs.ModeSymlink:
		return os.Symlink(e.Target, name)
	}
	hash := sha256.New()
	if err := write(name, e.Mode.Perm(), io.TeeReader(contents, hash)); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != e.SHA256 {
		return errors.New("its contents are not those of the manifest")
	}
	return nil
}

func write(name string, mode fs.FileMode, contents io.Reader) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, contents); err != nil {
		return err
	}
	// Not by OpenFile: the umask has no word in it.
	if err := file.Chmod(mode); err != nil {
		return err
	}
	return file.Close()
}
