package distribution

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// contents are the files of a small distribution.
var contents = map[string]string{"cni/bridge": "a plugin", "skerry": strings.Repeat("a program", 10_000), "twin": strings.Repeat("a program", 10_000), "empty": ""}

func manifest() *Manifest {
	entry := func(path string, mode fs.FileMode) Entry {
		sum := sha256.Sum256([]byte(contents[path]))
		return Entry{Path: path, Mode: mode, Size: int64(len(contents[path])), SHA256: hex.EncodeToString(sum[:])}
	}
	return &Manifest{Version: "1.2.0", Architecture: "amd64", Entries: []Entry{
		{Path: "cni", Mode: fs.ModeDir | 0o755},
		entry("cni/bridge", 0o755), entry("empty", 0o644),
		{Path: "link", Mode: fs.ModeSymlink | 0o777, Target: "skerry"},
		entry("skerry", 0o755), entry("twin", 0o755),
	}}
}

// distributionOf makes a distribution whose archive is as change leaves it.
func distributionOf(t *testing.T, m *Manifest, change func(archive []byte) []byte) string {
	t.Helper()
	var plain, packed bytes.Buffer
	err := WriteArchive(&plain, m, func(path string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(contents[path])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "skerry-1.2.0-linux-amd64")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Assemble(file, strings.NewReader("#!/bin/sh\nexit\n"), bytes.NewReader(change(packed.Bytes()))); err != nil {
		t.Fatal(err)
	}
	return name
}

func asItIs(archive []byte) []byte { return archive }

func open(t *testing.T, name string) *File {
	t.Helper()
	file, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestWhatIsUnpackedIsWhatWasPacked(t *testing.T) {
	file := open(t, distributionOf(t, manifest(), asItIs))
	if err := file.Check(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unpacked, err := file.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range contents {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %.20q, %v", path, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "link")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("link: %v, %v", info, err)
	}
	one, oneErr := os.Stat(filepath.Join(dir, "skerry"))
	other, otherErr := os.Stat(filepath.Join(dir, "twin"))
	if err := errors.Join(oneErr, otherErr); err != nil || !os.SameFile(one, other) {
		t.Errorf("files with the same contents are no hard links: %v", err)
	}
	there, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if there.Version != "1.2.0" || there.Bytes() != unpacked.Bytes() || there.Bytes() != 90_008 {
		t.Errorf("manifest: %+v", there)
	}
	if err := there.Verify(dir); err != nil {
		t.Error(err)
	}
}

// The archive alone is what tar and zstd know.
func TestTarAndZstdUnpackTheArchive(t *testing.T) {
	file := open(t, distributionOf(t, manifest(), asItIs))
	dir := t.TempDir()
	cmd := exec.Command("tar", "--extract", "--zstd", "--directory", dir)
	cmd.Stdin = file.archive()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	there, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestADamagedDownloadIsRefusedBeforeAnythingIsUnpacked(t *testing.T) {
	name := distributionOf(t, manifest(), asItIs)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, length := range map[string]int{"nothing": 0, "less than a trailer": trailerBytes - 1, "without its end": len(whole) - 1, "the launcher alone": 15} {
		if err := os.WriteFile(name, whole[:length], 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, changed := range map[string][]byte{"with a byte behind": append(bytes.Clone(whole), 0), "without its first byte": whole[1:]} {
		if err := os.WriteFile(name, changed, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", what, err)
		}
	}
	changed := bytes.Clone(whole)
	changed[len(whole)/2] ^= 1
	if err := os.WriteFile(name, changed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open(t, name).Check(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("with a bit changed: %v", err)
	}
}

func TestAnArchiveThatContradictsItsManifestIsNotUnpacked(t *testing.T) {
	for what, change := range map[string]func(string) string{
		"other contents":  func(s string) string { return strings.Replace(s, "a plugin", "a Plugin", 1) },
		"another name":    func(s string) string { return strings.Replace(s, `"cni/bridge"`, `"cni/bridgE"`, 1) },
		"a missing file":  func(s string) string { return s[:len(s)/2] },
		"another version": func(s string) string { return strings.Replace(s, `"format": 1`, `"format": 2`, 1) },
	} {
		name := distributionOf(t, manifest(), func(archive []byte) []byte { return repack(t, archive, change) })
		if _, err := open(t, name).Unpack(t.TempDir()); err == nil {
			t.Errorf("%s: it was unpacked", what)
		}
	}
}

// repack changes the text of a compressed archive.
func repack(t *testing.T, archive []byte, change func(string) string) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll([]byte(change(string(text))), nil)
}

func TestNoEntryLeavesTheFolder(t *testing.T) {
	for what, entries := range map[string][]Entry{
		"a path upwards":      {{Path: "../x", Mode: 0o644}},
		"an absolute path":    {{Path: "/x", Mode: 0o644}},
		"a path that is long": {{Path: "a/../x", Mode: 0o644}},
		"a link as a folder":  {{Path: "a", Mode: fs.ModeSymlink | 0o777, Target: "/etc"}, {Path: "a/x", Mode: 0o644}},
		"no folder":           {{Path: "a/x", Mode: 0o644}},
		"a name twice":        {{Path: "x", Mode: 0o644}, {Path: "x", Mode: 0o644}},
		"the manifest":        {{Path: ManifestName, Mode: 0o644}},
		"a device":            {{Path: "x", Mode: fs.ModeDevice | 0o644}},
		"rights of root":      {{Path: "x", Mode: fs.ModeSetuid | 0o755}},
		"less than nothing":   {{Path: "x", Mode: 0o644, Size: -1}},
	} {
		if _, err := (&Manifest{Version: "1", Entries: entries}).Encode(); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestWhatChangedSinceItWasUnpackedIsNamed(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"skerry": func(dir string) error { // which twin is another name of
			return errors.Join(os.Remove(filepath.Join(dir, "skerry")), os.WriteFile(filepath.Join(dir, "skerry"), []byte("x"), 0o755))
		},
		"cni/bridge": func(dir string) error { return os.Remove(filepath.Join(dir, "cni/bridge")) },
		"empty":      func(dir string) error { return os.Chmod(filepath.Join(dir, "empty"), 0o755) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("empty", filepath.Join(dir, "link")))
		},
	} {
		dir := t.TempDir()
		m, err := open(t, distributionOf(t, manifest(), asItIs)).Unpack(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if err := m.Verify(dir); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	text, err := manifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, e := range m.Entries {
			if !filepath.IsLocal(e.Path) {
				t.Errorf("%q leaves the folder", e.Path)
			}
		}
	})
}
