package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/tree"
)

// unpackedFirmware is a build with one unpacked package; files whose contents
// begin with "-> " are links.
func unpackedFirmware(t *testing.T, dir string, files map[string]string) *build {
	t.Helper()
	for name, contents := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(contents, "-> "); ok {
			err = os.Symlink(target, name)
		} else {
			err = os.WriteFile(name, []byte(contents), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &build{board: &board.Board{Firmware: []string{"firmware-x"}}, unpacked: map[string]string{"firmware-x": dir}}
}

func contentsOf(t *testing.T, root *tree.Tree, name string) string {
	t.Helper()
	f, ok := root.Get(name)
	if !ok {
		return "missing"
	}
	contents, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return string(contents)
}

func TestFirmwareThatModulesAskForIsAdded(t *testing.T) {
	// The user's cache folder may well lie behind a link.
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "cache")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	b := unpackedFirmware(t, filepath.Join(link, "x"), map[string]string{
		"usr/lib/firmware/nic/a.bin":     "a",
		"usr/lib/firmware/nic/same.bin":  "-> a.bin",
		"usr/lib/firmware/nic/unasked":   "u",
		"usr/lib/firmware/nic/rev/1.bin": "1",
		"lib/firmware/old.bin":           "old",
	})
	root := tree.New()
	names := []string{"nic/a.bin", "nic/same.bin", "nic/r*", "nic/rev/*.bin", "old.bin", "never-published.bin", "[", "/etc/passwd"}
	if err := b.addFirmware(root, names); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"nic/a.bin": "a", "nic/same.bin": "a", "nic/rev/1.bin": "1", "old.bin": "old", "nic/unasked": "missing",
	} {
		if got := contentsOf(t, root, "usr/lib/firmware/"+name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if f, _ := root.Get("usr/lib/firmware/nic/same.bin"); !f.Mode.IsRegular() {
		t.Errorf("a link became %v: its target may not be in the root", f.Mode)
	}
}

func TestFirmwareLinkOutOfItsPackageIsRefused(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := unpackedFirmware(t, t.TempDir(), map[string]string{"usr/lib/firmware/a.bin": "-> " + filepath.Join(outside, "secret")})
	if err := b.addFirmware(tree.New(), []string{"a.bin"}); err == nil || !strings.Contains(err.Error(), "a.bin") {
		t.Errorf("got %v", err)
	}
}

func TestFirmwarePackageThatWasNotUnpackedIsNotLeftOutSilently(t *testing.T) {
	b := unpackedFirmware(t, t.TempDir(), nil)
	b.board.Firmware = append(b.board.Firmware, "firmware-y")
	if err := b.addFirmware(tree.New(), nil); err == nil || !strings.Contains(err.Error(), "firmware-y") {
		t.Errorf("got %v", err)
	}
}
