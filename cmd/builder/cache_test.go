package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/cache"
)

// filled makes a cache with two entries of each kind, one of them used ten
// days ago, and returns the paths of those and of the others.
func filled(t *testing.T) (dir string, old, fresh []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "cache")
	for _, folder := range append([]string{cache.Steps}, builder.CacheFolders...) {
		for _, name := range []string{"root-1", "root-2"} {
			path := filepath.Join(dir, folder, name)
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path, "out"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			if name == "root-2" {
				fresh = append(fresh, path)
				continue
			}
			past := time.Now().Add(-10 * 24 * time.Hour)
			if err := os.Chtimes(path, past, past); err != nil {
				t.Fatal(err)
			}
			old = append(old, path)
		}
	}
	return dir, old, fresh
}

func left(paths []string) (n int) {
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			n++
		}
	}
	return n
}

func TestCacheIsShown(t *testing.T) {
	dir, _, _ := filled(t)
	code, stdout, stderr := invoke("cache", "--cache", dir)
	for _, want := range []string{dir, "root ", "debian/deb", "modules", "together"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%q is not in: exit code %d, %s%s", want, code, stdout, stderr)
		}
	}
	code, stdout, _ = invoke("cache", "--json", "--cache", dir)
	var result cached
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || result.Dir != dir || len(result.Kinds) != 6 || result.Kinds[0].Entries != 2 || result.Kinds[0].Bytes == 0 {
		t.Errorf("exit code %d, %v, %+v", code, err, result)
	}
}

func TestPruneRemovesWhatWasNotUsedLately(t *testing.T) {
	dir, old, fresh := filled(t)
	if code, stdout, _ := invoke("cache", "prune", "--cache", dir); code != 0 || left(old) != len(old) {
		t.Errorf("by default: exit code %d, %s", code, stdout)
	}
	code, stdout, stderr := invoke("cache", "prune", "--older-than", "9d", "--json", "--cache", dir)
	var removed cache.Removed
	if err := json.Unmarshal([]byte(stdout), &removed); err != nil || code != 0 || removed.Entries != len(builder.AgingFolders) || removed.Bytes == 0 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if left(fresh) != len(fresh) || left(old) != len(old)-len(builder.AgingFolders) {
		t.Errorf("%d of the new and %d of the old are left", left(fresh), left(old))
	}
	if code, _, _ := invoke("cache", "prune", "--all", "--cache", dir); code != 0 || left(fresh)+left(old) != 0 {
		t.Errorf("all: exit code %d, %d are left", code, left(fresh)+left(old))
	}
}

func TestPruneLeavesARunningBuildAlone(t *testing.T) {
	dir, old, fresh := filled(t)
	c, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	release, err := c.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	code, _, stderr := invoke("cache", "prune", "--all", "--cache", dir)
	if code != exitFailed || !strings.Contains(stderr, "a build is using the cache") || left(old)+left(fresh) != len(old)+len(fresh) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestPruneTakesNothingElseForACache(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "modules", "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := invoke("cache", "prune", "--all", "--cache", dir); code != exitFailed || !strings.Contains(stderr, "no cache") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if left([]string{filepath.Join(dir, "modules", "mine")}) != 1 {
		t.Error("a folder of somebody else was emptied")
	}
	for _, line := range []string{"prune --older-than 0d", "prune --older-than 3", "prune --older-than -1d", "prune --all --older-than 3d", "prun", "prune x"} {
		if code, _, stderr := invoke(append([]string{"cache", "--cache", dir}, strings.Fields(line)...)...); code != exitUsage {
			t.Errorf("%s: exit code %d, %s", line, code, stderr)
		}
	}
}
