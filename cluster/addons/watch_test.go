package addons

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChangesToManifestsAreNoticedAndOthersAreNot(t *testing.T) {
	dir := t.TempDir()
	changed := watch(t.Context(), dir)
	noticed := func(limit time.Duration) bool {
		select {
		case <-changed:
			return true
		case <-time.After(limit):
			return false
		}
	}
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !noticed(time.Minute) {
		t.Error("a file that was written was not noticed")
	}
	if err := os.WriteFile(file+".tmp", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if noticed(3 * settle) {
		t.Error("a file that is no manifest was noticed")
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		t.Fatal(err)
	}
	if !noticed(time.Minute) {
		t.Error("a file that was renamed into place was not noticed")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if !noticed(time.Minute) {
		t.Error("a file that was removed was not noticed")
	}
}
