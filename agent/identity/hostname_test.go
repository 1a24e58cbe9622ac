package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestANodeKeepsTheNameItGaveItself(t *testing.T) {
	dir := t.TempDir()
	for _, fresh := range []string{"rpi4-a1b2c3", "rpi4-ffffff"} {
		if got, err := Hostname(dir, fresh); err != nil || got != "rpi4-a1b2c3" {
			t.Errorf("offered %s: got %q, %v", fresh, got, err)
		}
	}
	for _, broken := range []string{"", "\n", "two words\n", "UPPER\n", "-\n", "-a\n", strings.Repeat("a", 100)} {
		if err := os.WriteFile(filepath.Join(dir, hostnameFile), []byte(broken), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := Hostname(dir, "anew"); err != nil || got != "anew" {
			t.Errorf("%.20q: got %q, %v", broken, got, err)
		}
		if got, _ := Hostname(dir, "later"); got != "anew" {
			t.Errorf("%.20q: the new name was not kept: %q", broken, got)
		}
	}
	if got, err := Hostname(filepath.Join(dir, "missing"), "x"); err == nil || got != "x" {
		t.Errorf("without a folder: %q, %v", got, err)
	}
}
