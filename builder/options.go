package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/release"
)

// Options say what to build. Zero values are completed by Build.
type Options struct {
	Board    string
	Version  string   // of the release; from git if empty
	Config   string   // node config to put on partition boot; none if empty
	Overlays []string // besides those of the board
	Without  []string // overlays of the board that are left out
	Archives []string // of container images, or folders that are OCI image layouts
	Output   string   // folder for the release's files
	Formats  []string // of the disk image, from Formats; "img" if empty
	Release  bool     // compress the root as small as it gets, for publishing
	Locked   string   // manifest of an earlier build whose packages are used again
	Mirror   string   // Debian mirror; from apt's sources if empty
	Refresh  bool     // ask the mirror again even if it was asked lately
	Source   string   // root folder of the repository
	Cache    string   // folder of the cache; the user's if empty
}

// check refuses what can be refused without doing anything.
func (o Options) check() error {
	for i, f := range o.Formats {
		if !slices.Contains(Formats, f) {
			return fmt.Errorf("format %q: choose from %s", f, strings.Join(Formats, ", "))
		}
		if slices.Contains(o.Formats[:i], f) {
			return fmt.Errorf("format %s is asked for twice: name it once", f)
		}
	}
	for i, name := range o.Overlays {
		if slices.Contains(o.Overlays[:i], name) {
			return fmt.Errorf("overlay %s is asked for twice: name it once", name)
		}
	}
	if o.Version != "" {
		if _, err := release.ParseVersion(o.Version); err != nil {
			return err
		}
	}
	return nil
}

// FindSource returns the root folder of the repository that dir lies in:
// boards, overlays and the programs of an image are taken from there.
func FindSource(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		contents, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(contents), "module github.com/skerry-os/skerry\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of Skerry: change into one, or pass --source", start)
		}
	}
}
