// Package tree describes a file tree before it becomes a file system: the
// root of a node or its initramfs. A tree knows names, permissions and where
// contents come from; everything in it belongs to root and has no time of its
// own, so that two machines that describe the same tree get the same bytes.
//
// Making file systems out of a tree is left to packages erofs and initramfs.
package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File is one entry of a tree: a directory, a regular file or a symbolic link.
type File struct {
	Mode   fs.FileMode // type and permission bits
	Target string      // of a symbolic link
	Source string      // host file with the contents; Bytes counts if it is empty
	Bytes  []byte
}

// Open returns the contents of a regular file.
func (f File) Open() (io.ReadCloser, error) {
	if f.Source != "" {
		return os.Open(f.Source)
	}
	return io.NopCloser(strings.NewReader(string(f.Bytes))), nil
}

// Read returns the contents of a regular file.
func (f File) Read() ([]byte, error) {
	if f.Source != "" {
		return os.ReadFile(f.Source)
	}
	return f.Bytes, nil
}

// Size returns the length of the contents in bytes.
func (f File) Size() (int64, error) {
	if f.Source == "" {
		return int64(len(f.Bytes)), nil
	}
	info, err := os.Stat(f.Source)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Tree maps clean relative slash-separated paths to files. Parents of an entry
// exist always; those not added by themselves are directories of mode 0755.
type Tree struct {
	files map[string]File
}

// New returns an empty tree.
func New() *Tree { return &Tree{files: map[string]File{}} }

// Add puts f at p, over what was there. It fails when p leaves the tree, when
// a parent of p is not a directory, and when a directory and something else
// would take each other's place. Symbolic links are not followed: a tree is
// filled by its real paths.
func (t *Tree) Add(p string, f File) error {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return fmt.Errorf("add to tree: the root itself cannot be replaced")
	}
	if old, ok := t.files[p]; ok && old.Mode.IsDir() != f.Mode.IsDir() {
		return fmt.Errorf("add %s to tree: a directory and a file want the same place", p)
	}
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		parent, ok := t.files[dir]
		if ok && !parent.Mode.IsDir() {
			return fmt.Errorf("add %s to tree: %s is no directory", p, dir)
		}
		if !ok {
			t.files[dir] = File{Mode: fs.ModeDir | 0o755}
		}
	}
	t.files[p] = f
	return nil
}

// AddBytes puts a regular file with the given contents at p.
func (t *Tree) AddBytes(p string, perm fs.FileMode, contents []byte) error {
	return t.Add(p, File{Mode: perm.Perm(), Bytes: contents})
}

// AddSource puts a regular file with the contents of a host file at p.
func (t *Tree) AddSource(p string, perm fs.FileMode, source string) error {
	return t.Add(p, File{Mode: perm.Perm(), Source: source})
}

// AddSymlink puts a symbolic link at p.
func (t *Tree) AddSymlink(p, target string) error {
	return t.Add(p, File{Mode: fs.ModeSymlink | 0o777, Target: target})
}

// AddDir puts an empty directory at p, or gives an existing one these permissions.
func (t *Tree) AddDir(p string, perm fs.FileMode) error {
	return t.Add(p, File{Mode: fs.ModeDir | perm.Perm() | perm&fs.ModeSticky})
}

// AddHostDir adds everything below a host directory. Permissions are made
// independent of the host's umask: 0755 for directories and what its owner may
// execute, 0644 for all else.
func (t *Tree) AddHostDir(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return t.AddDir(rel, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return t.AddSymlink(rel, target)
		case d.Type().IsRegular():
			perm := fs.FileMode(0o644)
			if info.Mode()&0o100 != 0 {
				perm = 0o755
			}
			return t.AddSource(rel, perm, p)
		}
		return fmt.Errorf("add %s to tree: only files, directories and symbolic links can be part of an image", p)
	})
}

// Merge adds every entry of other.
func (t *Tree) Merge(other *Tree) error {
	for _, p := range other.Paths() {
		if err := t.Add(p, other.files[p]); err != nil {
			return err
		}
	}
	return nil
}

// Get returns the entry at p itself; symbolic links are not followed.
func (t *Tree) Get(p string) (File, bool) {
	f, ok := t.files[strings.TrimPrefix(path.Clean("/"+p), "/")]
	return f, ok
}

// Resolve follows symbolic links, of the entry and of its parents, within the
// tree and returns the real path, relative to the root.
func (t *Tree) Resolve(p string) (string, bool) {
	rest := strings.Split(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
	real := ""
	for hops := 0; len(rest) > 0; {
		next := path.Join(real, rest[0])
		f, ok := t.files[next]
		if !ok {
			return "", false
		}
		rest = rest[1:]
		if f.Mode.Type() != fs.ModeSymlink {
			real = next
			continue
		}
		if hops++; hops > 40 {
			return "", false
		}
		target := f.Target
		if !path.IsAbs(target) {
			target = path.Join("/", real, target)
		}
		target = strings.TrimPrefix(path.Clean(target), "/")
		rest = append(strings.Split(target, "/"), rest...)
		real = ""
	}
	return real, true
}

// Paths returns all paths in the order in which every directory comes before
// what is in it.
func (t *Tree) Paths() []string {
	paths := make([]string, 0, len(t.files))
	for p := range t.files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// Size returns the sum of the contents of all regular files in bytes.
func (t *Tree) Size() (int64, error) {
	var sum int64
	for _, f := range t.files {
		if !f.Mode.IsRegular() {
			continue
		}
		n, err := f.Size()
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// Digest returns the SHA-256, in hex, of all names, modes, targets and contents.
func (t *Tree) Digest() (string, error) {
	sum := sha256.New()
	for _, p := range t.Paths() {
		f := t.files[p]
		fmt.Fprintf(sum, "%q %o %q\n", p, uint32(f.Mode), f.Target)
		if !f.Mode.IsRegular() {
			continue
		}
		contents, err := f.Digest()
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, contents)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Digest returns the SHA-256 of the contents in hex.
func (f File) Digest() (string, error) {
	r, err := f.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// WriteTo makes the tree below dir, which must exist and be empty, whatever
// the umask. Owners and times are those of the caller and the moment: the
// file system makers override both. A host file that is in the tree several
// times, with the same permissions, becomes one file with several names.
func (t *Tree) WriteTo(dir string) error {
	type original struct {
		source string
		mode   fs.FileMode
	}
	written := map[original]string{}
	for _, p := range t.Paths() {
		f, name := t.files[p], filepath.Join(dir, filepath.FromSlash(p))
		same := original{f.Source, f.Mode}
		if first, ok := written[same]; ok {
			if err := os.Link(first, name); err != nil {
				return err
			}
			continue
		}
		if err := f.writeTo(name); err != nil {
			return err
		}
		if f.Mode.IsRegular() && f.Source != "" {
			written[same] = name
		}
	}
	return nil
}

func (f File) writeTo(name string) error {
	switch f.Mode.Type() {
	case fs.ModeDir:
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
		return os.Chmod(name, f.Mode)
	case fs.ModeSymlink:
		return os.Symlink(f.Target, name)
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Chmod(f.Mode.Perm()); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
