// Package release is what the builder and a node's agent say to each other
// about a release: its version and its manifest, the JSON file that records
// what one build made and of what.
//
// The manifest of the same build is the same bytes on every machine. Reading it
// is strict and bounded, and safe on bytes that anybody wrote; who may be
// believed is left to the signed metadata around it. Of a manifest that a newer
// builder wrote, members that are not known are passed over, so that a node in
// the field can read about releases newer than itself; a change that it must
// not pass over raises Format.
package release

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// Format is the version of the manifest's format.
	Format = 1
	// MaxManifest is the size in bytes of the largest manifest that is read.
	MaxManifest = 4 << 20
	// maxEntries bounds every list of a manifest.
	maxEntries = 10_000
	// maxText bounds every text of a manifest, in bytes.
	maxText = 1024
)

// Manifest records what one build made and of what.
type Manifest struct {
	Format       int     `json:"format"`
	Version      Version `json:"version"`
	Board        string  `json:"board"`
	Architecture string  `json:"architecture"` // Debian's name, as in arm64
	// Commit is the state of Skerry's repository, in hexadecimal; empty outside git.
	Commit string `json:"commit,omitempty"`
	// Time of the sources, to the second (SOURCE_DATE_EPOCH).
	Time time.Time `json:"time"`
	// Kernel is the kernel's release, as in 6.12.1-amd64.
	Kernel string `json:"kernel"`
	// Verity is the value of the kernel's argument skerry.slot (package verity).
	Verity    string     `json:"verity"`
	Overlays  []string   `json:"overlays"` // in the order in which they were merged
	Artifacts []Artifact `json:"artifacts"`
	Packages  []Package  `json:"packages"`
	Modules   []Module   `json:"modules"`
	Images    []Image    `json:"images"`
	Tools     []Tool     `json:"tools"`
}

// Kind says what an artifact is. There may be kinds that this code does not know.
type Kind string

const (
	KindImage Kind = "img"  // disk image, perhaps compressed
	KindSlot  Kind = "slot" // slot image
	KindUKI   Kind = "uki"  // unified kernel image, for partition boot
)

// Artifact is a file that the build made.
type Artifact struct {
	Name   string `json:"name"` // without folder
	Kind   Kind   `json:"kind"`
	Size   int64  `json:"size"` // in bytes
	SHA256 Digest `json:"sha256"`
}

// Package is a Debian package that something was taken from.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// Source and SourceVersion name the source package; empty if they are Name and Version.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
	Filename      string `json:"filename"` // path below the mirror's root
	Size          int64  `json:"size"`     // of the .deb, in bytes
	SHA256        Digest `json:"sha256"`   // of the .deb
}

// Module is a Go module that a program of the image was compiled from.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum,omitempty"` // as in go.sum; empty for the main module
}

// Image is a container image that the root carries.
type Image struct {
	Reference string `json:"reference"` // as in skerry.dev/pause:v1
	SHA256    Digest `json:"sha256"`    // of the manifest, or of the index that it was chosen from
}

// Tool is a program of the build machine that had a part in the bytes.
type Tool struct {
	Name    string `json:"name"`    // as in mkfs.erofs
	Version string `json:"version"` // as it says itself
}

// Digest is a SHA-256, written in lower-case hexadecimal.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText returns what String does.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDigest reads 64 lower-case digits in hexadecimal.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	return d, d.UnmarshalText([]byte(s))
}

// UnmarshalText reads 64 lower-case digits in hexadecimal.
func (d *Digest) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	if err != nil || len(decoded) != len(d) || !bytes.Equal(bytes.ToLower(text), text) {
		return fmt.Errorf("%.80q is no SHA-256 in lower-case hexadecimal", text)
	}
	copy(d[:], decoded)
	return nil
}

// Artifact returns the only artifact of a kind, as slot and UKI are.
func (m *Manifest) Artifact(kind Kind) (Artifact, error) {
	var found []Artifact
	for _, a := range m.Artifacts {
		if a.Kind == kind {
			found = append(found, a)
		}
	}
	if len(found) != 1 {
		return Artifact{}, fmt.Errorf("release %s for %s has %d artifacts of kind %s: one is expected", m.Version, m.Board, len(found), kind)
	}
	return found[0], nil
}

// Encode returns the manifest as JSON: indented, in the order of the struct,
// lists sorted but for the overlays, one line end at the end. Format is filled
// in. It fails if Parse would not read the result.
func (m *Manifest) Encode() ([]byte, error) {
	sorted := *m
	sorted.Format = Format
	sorted.Time = m.Time.UTC()
	sorted.Overlays = append([]string{}, m.Overlays...)
	sorted.Artifacts = sortedBy(m.Artifacts, func(a, b Artifact) int { return cmp.Compare(a.Name, b.Name) })
	sorted.Packages = sortedBy(m.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Architecture, b.Architecture))
	})
	sorted.Modules = sortedBy(m.Modules, func(a, b Module) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Version, b.Version))
	})
	sorted.Images = sortedBy(m.Images, func(a, b Image) int { return cmp.Compare(a.Reference, b.Reference) })
	sorted.Tools = sortedBy(m.Tools, func(a, b Tool) int { return cmp.Compare(a.Name, b.Name) })
	if err := sorted.check(); err != nil {
		return nil, fmt.Errorf("release manifest: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(&sorted); err != nil {
		return nil, fmt.Errorf("release manifest: %w", err)
	}
	if out.Len() > MaxManifest {
		return nil, fmt.Errorf("release manifest: it has %d bytes, and %d are the most", out.Len(), MaxManifest)
	}
	return out.Bytes(), nil
}

// sortedBy returns a sorted copy that is never nil, so that JSON has [] for it.
func sortedBy[T any](list []T, compare func(a, b T) int) []T {
	sorted := append([]T{}, list...)
	slices.SortStableFunc(sorted, compare)
	return sorted
}

// ParseManifest reads a manifest, which is called name in errors.
func ParseManifest(name string, data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("release manifest %s: it has %d bytes, and %d are the most", name, len(data), MaxManifest)
	}
	var format struct {
		Format int `json:"format"`
	}
	if err := wellFormed(data); err != nil {
		return nil, fmt.Errorf("release manifest %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return nil, fmt.Errorf("release manifest %s: %w", name, err)
	}
	if format.Format != Format {
		return nil, fmt.Errorf("release manifest %s: its format is %d, and this program reads %d: use the program of that release", name, format.Format, Format)
	}
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("release manifest %s: %w", name, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("release manifest %s: %w", name, err)
	}
	return m, nil
}

var errTrailing = errors.New("there is something after the end of the JSON object")
