package debian

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	maxUnpackedBytes = 16 << 30 // of one package
	maxEntries       = 1 << 20
)

// extraction writes the entries of a tar archive below an empty root. It knows
// every name that it has made, so it can tell a folder from a link to one
// without asking the file system; root is the second fence.
type extraction struct {
	root  *os.Root
	keep  func(string) bool
	made  map[string]fs.FileMode // what is where; of folders with their permissions
	bytes int64
	copy  []byte
}

func newExtraction(root *os.Root, keep func(string) bool) *extraction {
	return &extraction{root: root, keep: keep, made: map[string]fs.FileMode{}, copy: make([]byte, 256<<10)}
}

func (x *extraction) run(r io.Reader) error {
	in := tar.NewReader(r)
	for n := 0; ; n++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return fmt.Errorf("data.tar: %w", err)
		}
		if n >= maxEntries {
			return fmt.Errorf("data.tar has more than %d entries", maxEntries)
		}
		name, err := entryName(header.Name)
		if err != nil {
			return err
		}
		if err := x.entry(name, header, in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// entryName returns the path of an entry below the root, "." for the root.
func entryName(s string) (string, error) {
	if s == "" || len(s) > 4096 || path.IsAbs(s) || strings.IndexByte(s, 0) >= 0 || slices.Contains(strings.Split(s, "/"), "..") {
		return "", fmt.Errorf("data.tar: entry %.120q would leave the folder it is unpacked to", s)
	}
	return path.Clean(s), nil
}

func (x *extraction) entry(name string, header *tar.Header, in io.Reader) error {
	isDir := header.Typeflag == tar.TypeDir
	if name == "." {
		if !isDir {
			return errors.New("the root is no folder")
		}
		return nil // dir is the caller's
	}
	if x.bytes += header.Size; header.Size < 0 || x.bytes > maxUnpackedBytes {
		return fmt.Errorf("the package unpacks to more than %d bytes", int64(maxUnpackedBytes))
	}
	if x.keep != nil && !x.keep(name) {
		return nil
	}
	if err := x.parents(name); err != nil {
		return err
	}
	old, exists := x.made[name]
	if exists && !(isDir && old.IsDir()) {
		return errors.New("the package has it twice")
	}
	perm := header.FileInfo().Mode().Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		perm |= fs.ModeDir | header.FileInfo().Mode()&fs.ModeSticky
		x.made[name] = perm
		if exists {
			return nil
		}
		return x.root.Mkdir(name, 0o700)
	case tar.TypeReg:
		x.made[name] = perm
		return x.file(name, perm, in)
	case tar.TypeSymlink:
		if header.Linkname == "" {
			return errors.New("a symbolic link to nowhere")
		}
		x.made[name] = fs.ModeSymlink
		return x.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return x.hardLink(name, header.Linkname)
	}
	return fmt.Errorf("an entry of type %q: only files, folders and links can be unpacked", header.Typeflag)
}

// parents makes the folders above name. One that is a link is an error:
// through it, a package could write anywhere.
func (x *extraction) parents(name string) error {
	var missing []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		mode, ok := x.made[dir]
		if ok && !mode.IsDir() {
			return fmt.Errorf("%s above it is no folder", dir)
		}
		if ok {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		x.made[dir] = fs.ModeDir | 0o755
		if err := x.root.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) file(name string, perm fs.FileMode, in io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// The bare Writer keeps io.CopyBuffer from File.ReadFrom, which would
	// allocate a buffer for each of some thousand modules.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, in, x.copy)
	if err == nil {
		err = f.Chmod(perm)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (x *extraction) hardLink(name, target string) error {
	target, err := entryName(target)
	if err != nil {
		return err
	}
	mode, ok := x.made[target]
	if !ok {
		return fmt.Errorf("it is a hard link to %s, which is not unpacked: keep that too", target)
	}
	if !mode.IsRegular() {
		return fmt.Errorf("it is a hard link to %s, which is no file", target)
	}
	x.made[name] = mode
	return x.root.Link(target, name)
}

// finish gives folders their permissions, which may forbid to write into them.
func (x *extraction) finish() error {
	names := make([]string, 0, len(x.made))
	for name, mode := range x.made {
		if mode.IsDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if err := x.root.Chmod(name, x.made[name]); err != nil {
			return err
		}
	}
	return nil
}
