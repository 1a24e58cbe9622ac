package distribution

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/release"
)

// ManifestName is the manifest's name in the archive and among the files.
const ManifestName = "distribution.json"

const (
	// format is the version of manifest and archive.
	format = 1
	// maxManifest is the most that a manifest may have, in bytes.
	maxManifest = 1 << 20
)

// Manifest says what a distribution is made of.
type Manifest struct {
	Format       int             `json:"format"`
	Version      release.Version `json:"version"`
	Architecture string          `json:"architecture"` // as Go and Debian name it
	Entries      []Entry         `json:"entries"`      // in the archive's order
}

// Entry is a file, a folder or a symbolic link.
type Entry struct {
	Path   string      `json:"path"` // relative, with slashes
	Mode   fs.FileMode `json:"mode"` // type and permission bits
	Size   int64       `json:"size,omitempty"`
	SHA256 string      `json:"sha256,omitempty"` // of a file, in hexadecimal
	Target string      `json:"target,omitempty"` // of a symbolic link
}

// Bytes is what all files have together; those with the same contents are one.
func (m *Manifest) Bytes() int64 {
	var sum int64
	twins := m.twins()
	for _, e := range m.Entries {
		if _, twin := twins[e.Path]; !twin {
			sum += e.Size
		}
	}
	return sum
}

// twins are the files that are another name of an earlier one, whose path it
// returns: they have the same contents and mode.
func (m *Manifest) twins() map[string]string {
	type contents struct {
		sum  string
		mode fs.FileMode
	}
	first, twins := map[contents]string{}, map[string]string{}
	for _, e := range m.Entries {
		if !e.Mode.IsRegular() || e.Size == 0 {
			continue
		}
		c := contents{e.SHA256, e.Mode}
		if earlier, ok := first[c]; ok {
			twins[e.Path] = earlier
		} else {
			first[c] = e.Path
		}
	}
	return twins
}

// Encode returns the manifest as it is stored.
func (m *Manifest) Encode() ([]byte, error) {
	m.Format = format
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", " ")
	return append(text, '\n'), err
}

// parseManifest reads a manifest and checks that no entry leaves the folder
// that it is unpacked into, by its name or behind a link.
func parseManifest(r io.Reader) (*Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("%s is larger than %d bytes", ManifestName, maxManifest)
	}
	m := new(Manifest)
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	return m, m.check()
}

func (m *Manifest) check() error {
	if m.Format != format {
		return fmt.Errorf("%s: format %d, and this program knows format %d: use the program that came with it", ManifestName, m.Format, format)
	}
	if _, err := release.ParseVersion(string(m.Version)); err != nil {
		return fmt.Errorf("%s: %w", ManifestName, err)
	}
	kinds := map[string]fs.FileMode{".": fs.ModeDir}
	for _, e := range m.Entries {
		_, twice := kinds[e.Path]
		parent, known := kinds[filepath.ToSlash(filepath.Dir(e.Path))]
		switch {
		case !filepath.IsLocal(e.Path) || filepath.ToSlash(filepath.Clean(e.Path)) != e.Path || e.Path == ManifestName:
			return fmt.Errorf("%s: %q is no name of a file", ManifestName, e.Path)
		case twice:
			return fmt.Errorf("%s: %s is there twice", ManifestName, e.Path)
		case !known || parent != fs.ModeDir:
			return fmt.Errorf("%s: %s is in no folder that was named before", ManifestName, e.Path)
		case e.Mode&^(fs.ModeDir|fs.ModeSymlink|fs.ModePerm) != 0 || e.Mode.Type() == fs.ModeDir|fs.ModeSymlink:
			return fmt.Errorf("%s: %s has mode %v, which nothing here has", ManifestName, e.Path, e.Mode)
		case e.Size < 0 || !e.Mode.IsRegular() && e.Size != 0:
			return fmt.Errorf("%s: %s has %d bytes", ManifestName, e.Path, e.Size)
		}
		kinds[e.Path] = e.Mode.Type()
	}
	return nil
}

// ReadManifest reads the manifest of what was unpacked into a folder. Where
// there is none, the error is fs.ErrNotExist.
func ReadManifest(dir string) (*Manifest, error) {
	file, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m, err := parseManifest(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}

// Verify compares the files in a folder with a manifest, and returns all that
// differs.
func (m *Manifest) Verify(dir string) error {
	var errs []error
	for _, e := range m.Entries {
		if err := e.verify(filepath.Join(dir, filepath.FromSlash(e.Path))); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e Entry) verify(name string) error {
	info, err := os.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.Mode() != e.Mode && e.Mode.Type() != fs.ModeSymlink || info.Mode().Type() != e.Mode.Type():
		return fmt.Errorf("%s has mode %v instead of %v", name, info.Mode(), e.Mode)
	case e.Mode.Type() == fs.ModeSymlink:
		if target, err := os.Readlink(name); err != nil || target != e.Target {
			return fmt.Errorf("%s leads to %s instead of %s", name, target, e.Target)
		}
		return nil
	case e.Mode.IsDir():
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	sum, size, err := digest(io.Discard, file)
	if err == nil && (size != e.Size || sum != e.SHA256) {
		err = fmt.Errorf("%s is not the file that was unpacked", name)
	}
	return err
}
