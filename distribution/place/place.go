// Package place knows where an installed distribution lies on a machine:
//
//	/usr/local/lib/skerry/VERSION/   the files of a version, as they were unpacked
//	/usr/local/lib/skerry/current    a link to the version that is run
//
// Whatever starts programs does so by the link: a Pod that outlives an update
// finds its runc there, when the folder of its version is gone.
package place

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/distribution"
)

const (
	// Lib is the folder with all versions.
	Lib = "/usr/local/lib/skerry"
	// Current is the link in it to the version that is run.
	Current = "current"
	// Program is the single binary's name in the folder of a version.
	Program = "skerry"

	unpacking = ".unpack-" // begins the names of folders that are not complete
)

// Place is a machine's root folder.
type Place struct {
	Root string // "" for the machine's own
}

// ErrNoRoot is what --root says without a folder. A variable that was not set
// must not make the machine itself the place.
var ErrNoRoot = errors.New("--root: a folder belongs behind it")

// Find looks for --root among arguments. Whoever knows all flags checks the rest.
func Find(args []string) (Place, error) {
	for i, arg := range args {
		value, given := strings.CutPrefix(arg, "--root=")
		if arg == "--root" && i+1 < len(args) {
			value, given = args[i+1], true
		}
		if arg == "--root" && !given || given && value == "" {
			return Place{}, ErrNoRoot
		}
		if given {
			return At(value)
		}
	}
	return Place{}, nil
}

// At returns the place with a root folder, which has to exist; "" is the
// machine's own.
func At(root string) (Place, error) {
	if root == "" {
		return Place{}, nil
	}
	info, err := os.Stat(root)
	if err != nil {
		return Place{}, fmt.Errorf("--root: %w", err)
	}
	if !info.IsDir() {
		return Place{}, fmt.Errorf("--root %s: it is no folder", root)
	}
	if root, err = filepath.Abs(root); err != nil || root == "/" {
		root = ""
	}
	return Place{root}, err
}

// Path is where a path of the machine is in this one's eyes.
func (p Place) Path(path string) string { return filepath.Join("/", p.Root, path) }

// Version is the folder of a version.
func (p Place) Version(version string) string { return filepath.Join(p.Path(Lib), version) }

// Versions returns the names of the folders of all versions.
func (p Place) Versions() ([]string, error) {
	entries, err := os.ReadDir(p.Path(Lib))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var versions []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			versions = append(versions, e.Name())
		}
	}
	return versions, err
}

// Running returns the version that the link Current leads to, or "" where there
// is none.
func (p Place) Running() (string, error) {
	target, err := os.Readlink(filepath.Join(p.Path(Lib), Current))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return target, err
}

// Unpack unpacks a distribution into the folder of its version. A folder that is
// there already, with all files as they were unpacked, stays; fresh is false
// then. Another one is replaced in one step. After a power cut the folder is
// whole or not there.
func (p Place) Unpack(file *distribution.File) (dir string, fresh bool, err error) {
	manifest, err := file.Manifest()
	if err != nil {
		return "", false, err
	}
	if manifest.Version == Current {
		return "", false, fmt.Errorf("version %s: that is the name of the link to the version that is run", manifest.Version)
	}
	if err := os.MkdirAll(p.Path(Lib), 0o755); err != nil {
		return "", false, err
	}
	unlock, err := p.lock()
	if err != nil {
		return "", false, err
	}
	defer unlock()
	dir = p.Version(string(manifest.Version))
	if same(dir, manifest) {
		return dir, false, nil
	}
	if err := p.sweep(); err != nil {
		return "", false, err
	}
	if err := checkSpace(p.Path(Lib), manifest.Bytes()); err != nil {
		return "", false, err
	}
	temporary, err := os.MkdirTemp(p.Path(Lib), unpacking)
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", false, err
	}
	if _, err := file.Unpack(temporary); err != nil {
		return "", false, err
	}
	if err := replace(dir, temporary); err != nil {
		return "", false, err
	}
	return dir, true, atomicfile.SyncDir(p.Path(Lib))
}

// same tells whether a folder has a distribution, undamaged.
func same(dir string, manifest *distribution.Manifest) bool {
	there, err := distribution.ReadManifest(dir)
	if err != nil {
		return false
	}
	a, errA := there.Encode()
	b, errB := manifest.Encode()
	return errA == nil && errB == nil && bytes.Equal(a, b) && manifest.Verify(dir) == nil
}

// replace gives a folder its name. One that has the name gets the other's.
func replace(dir, by string) error {
	err := unix.Renameat2(unix.AT_FDCWD, by, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		err = unix.Renameat2(unix.AT_FDCWD, by, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: by, New: dir, Err: err}
	}
	return nil
}

// lock keeps others from installing at the same time.
func (p Place) lock() (unlock func(), err error) {
	folder, err := os.Open(p.Path(Lib))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		folder.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("somebody else is installing there: wait until that has ended")
		}
		return nil, fmt.Errorf("%s: %w", p.Path(Lib), err)
	}
	return func() { folder.Close() }, nil
}

// sweep removes folders that were left incomplete.
func (p Place) sweep() error {
	left, err := filepath.Glob(filepath.Join(p.Path(Lib), unpacking+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// checkSpace refuses to fill a file system.
func checkSpace(dir string, bytes int64) error {
	var free unix.Statfs_t
	if err := unix.Statfs(dir, &free); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	need, have := bytes>>20+1, int64(free.Bavail)*int64(free.Bsize)>>20
	if have < need {
		return fmt.Errorf("%s has room for %d MiB, and %d MiB are to be unpacked: make room", dir, have, need)
	}
	return nil
}

// Switch makes a version the one that is run.
func (p Place) Switch(version string) error {
	link := filepath.Join(p.Path(Lib), Current)
	temporary := filepath.Join(p.Path(Lib), unpacking+Current)
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(version, temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, link); err != nil {
		return err
	}
	return atomicfile.SyncDir(p.Path(Lib))
}

// LibDir returns the folder with the files that belong to a program: the one
// that the program is in, by the link if it is the version that is run. It is
// "" for a program that was not installed.
func LibDir(program string) string {
	dir := filepath.Dir(program)
	if _, err := os.Stat(filepath.Join(dir, distribution.ManifestName)); err != nil {
		return ""
	}
	current := filepath.Join(filepath.Dir(dir), Current)
	if target, err := filepath.EvalSymlinks(current); err == nil && target == dir {
		return current
	}
	return dir
}
