package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesOfSeveralFoldersTakeTheirPlaces(t *testing.T) {
	dir := t.TempDir()
	name := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(name("leases"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, contents := range map[string]string{name("id"): "old", name("id" + Suffix): "left by a power cut"} {
		if err := os.WriteFile(name, []byte(contents), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	files := []File{{name("id"), []byte("new"), 0o600}, {name("leases/eth0"), []byte("10.0.2.15"), 0o644}}
	if err := Replace(files...); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		contents, err := os.ReadFile(f.Name)
		if err != nil || string(contents) != string(f.Contents) {
			t.Errorf("%s: %q, %v", f.Name, contents, err)
		}
		if info, err := os.Stat(f.Name); err != nil || info.Mode() != f.Mode {
			t.Errorf("%s: %v, %v", f.Name, info, err)
		}
		if _, err := os.Stat(f.Name + Suffix); err == nil {
			t.Errorf("%s%s is left", f.Name, Suffix)
		}
	}
	if err := Replace(); err != nil {
		t.Errorf("no files: %v", err)
	}
}

func TestFailedReplaceKeepsTheOldFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(name+Suffix, "in-the-way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Replace(File{name, []byte("new"), 0o600}); err == nil {
		t.Error("no error")
	}
	if got, err := os.ReadFile(name); string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
}
