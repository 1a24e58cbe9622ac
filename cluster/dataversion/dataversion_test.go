package dataversion

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheNewestThatWroteIsNoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, step := range []struct{ kubernetes, noted string }{
		{"v1.37.2", "v1.37.2"}, {"v1.37.3", "v1.37.3"}, {"v1.37.2", "v1.37.3"}, {"v1.38.0", "v1.38.0"},
		{"v1.37.2", "v1.38.0"}, // an update that was taken back
		{"v1.38.0-rc.1", "v1.38.0"},
	} {
		if err := Claim(dir, step.kubernetes); err != nil {
			t.Fatalf("%s: %v", step.kubernetes, err)
		}
		contents, err := os.ReadFile(filepath.Join(dir, File))
		if want := "format: 1\nkubernetes: " + step.noted + "\n"; err != nil || string(contents) != want {
			t.Errorf("%s: %q, %v", step.kubernetes, contents, err)
		}
	}
}

func TestNewerDataIsNotTouched(t *testing.T) {
	for contents, newer := range map[string]bool{
		"format: 2\nkubernetes: v1.37.2\n": true,
		"format: 1\nkubernetes: v1.39.0\n": true,
		"format: 1\nkubernetes: v2.0.0\n":  true,
		"format: 1\nkubernetes: soon\n":    false,
		"kubernetes: v1.37.2\n":            false,
		"99\n":                             false,
		"":                                 false,
		"\x00\x00\x00\x00":                 false,
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, File)
		if err := os.WriteFile(file, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
		err := Claim(dir, "v1.37.2")
		if err == nil || errors.Is(err, ErrNewer) != newer || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v", contents, err)
		}
		if after, err := os.ReadFile(file); err != nil || string(after) != contents {
			t.Errorf("%q became %q, %v", contents, after, err)
		}
	}
}
