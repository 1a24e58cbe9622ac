// Package dataversion keeps a program from data that a newer one wrote. A file
// beside the data says what has written there:
//
//	/var/lib/skerry/version    format: 1
//	                           kubernetes: v1.37.2
//
// Kubernetes can read what its next minor version stored (deprecation policy,
// rule 4b), so that an update can be taken back. Of anything newer, and of another
// format, the program keeps its hands off.
package dataversion

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

// File is the file's name in the data folder.
const File = "version"

// Format is the version of how data is laid out. It grows when a program before
// the change would misread what one after it wrote.
const Format = 1

// stamp is what the file says. The newest that has written counts.
type stamp struct {
	Format     int    `json:"format"`
	Kubernetes string `json:"kubernetes"`
}

// ErrNewer is wrapped by errors about data that a newer program wrote.
var ErrNewer = errors.New("newer data")

// Claim notes that a program with this version of Kubernetes uses the data. If
// it must not, the error says why, and nothing was written.
func Claim(dir, kubernetes string) error {
	own, err := version.ParseGeneric(kubernetes)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, File)
	contents, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return write(file, stamp{Format, kubernetes})
	}
	if err != nil {
		return err
	}
	var there stamp
	if err := yaml.Unmarshal(contents, &there); err != nil || there.Format < 1 {
		return fmt.Errorf("%s: it does not say which version wrote the data: restore it, or move %s away to start anew", file, dir)
	}
	if there.Format > Format {
		return fmt.Errorf("%w: %s has format %d, and this program knows up to %d: install the version that wrote it, or a newer one",
			ErrNewer, dir, there.Format, Format)
	}
	wrote, err := version.ParseGeneric(there.Kubernetes)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if wrote.Major() != own.Major() || wrote.Minor() > own.Minor()+1 {
		return fmt.Errorf("%w: %s was written by Kubernetes %s, and this is %s: install the version that wrote it, or a newer one",
			ErrNewer, dir, there.Kubernetes, kubernetes)
	}
	if wrote.Minor() > own.Minor() {
		slog.Warn("a newer version wrote the data, and this one goes on with it", "newer", there.Kubernetes, "this", kubernetes)
	}
	if !wrote.LessThan(own) {
		return nil
	}
	return write(file, stamp{Format, kubernetes})
}

func write(file string, s stamp) error {
	contents, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, contents, 0o644)
}
