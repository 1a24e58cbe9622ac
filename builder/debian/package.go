package debian

import (
	"fmt"
	"path"
	"strings"
)

// maxDebBytes bounds one package. The largest of trixie has 3.2 GB.
const maxDebBytes = 8 << 30

// Package is one binary package of the archive. Its JSON form is the record
// that a release keeps, and all that Fetch and Unpack need.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// Source and SourceVersion name the source package it was built from.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"sourceVersion,omitempty"`
	Filename      string `json:"filename"` // path below the mirror's root
	Size          int64  `json:"size"`     // of the .deb, in bytes
	SHA256        string `json:"sha256"`   // of the .deb, lower-case hex

	// The relations as the index has them (Debian Policy 7).
	Depends    string `json:"-"`
	PreDepends string `json:"-"`
	Provides   string `json:"-"`
}

// String returns name and version as people write them.
func (p Package) String() string { return p.Name + " " + p.Version }

// check tells whether the record is complete and safe to make a URL and the
// name of a cache file from. Records come out of files that people may edit.
func (p Package) check() error {
	switch {
	case !validName(p.Name):
		return fmt.Errorf("package record: %.60q is no package name", p.Name)
	case p.Version == "":
		return fmt.Errorf("package record %s: no version", p.Name)
	case p.Architecture == "":
		return fmt.Errorf("package record %s: no architecture", p.Name)
	case !localPath(p.Filename):
		return fmt.Errorf("package record %s: file name %.120q is no path below a mirror", p.Name, p.Filename)
	case p.Size <= 0 || p.Size > maxDebBytes:
		return fmt.Errorf("package record %s: size %d is not between 1 and %d bytes", p.Name, p.Size, int64(maxDebBytes))
	case !validSHA256(p.SHA256):
		return fmt.Errorf("package record %s: %.80q is no SHA-256 in lower-case hex", p.Name, p.SHA256)
	}
	return nil
}

// validName follows Debian Policy 5.6.7. Suites, components and architectures
// have the same form.
func validName(s string) bool {
	if len(s) < 2 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return true
}

func validSHA256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// localPath tells whether p is a clean relative path that stays below its root
// and has nothing in it that a URL or a log line would stumble over.
func localPath(p string) bool {
	if p == "" || len(p) > 1024 || p[0] == '/' || p != path.Clean(p) || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return false
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] >= 0x7f || p[i] == '\\' {
			return false
		}
	}
	return true
}
