package builder

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// put writes files into a folder.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, contents := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// folder returns the files of a folder with their contents; folders are "/".
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		contents, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if found[e.Name()] = string(contents); e.IsDir() {
			found[e.Name()] = "/"
		}
	}
	return found
}

func staged(t *testing.T, output string, files map[string]string) *stage {
	t.Helper()
	s, err := newStage(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.dir, files)
	return s
}

func TestReleaseReplacesTheFormerOne(t *testing.T) {
	output := filepath.Join(t.TempDir(), "out")
	for _, round := range []string{"1", "2"} {
		s := staged(t, output, map[string]string{"a": round, "sums": round})
		if err := s.publish([]string{"a", "sums"}); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if got, want := folder(t, output), map[string]string{"a": round, "sums": round}; !maps.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	}
}

func TestPublishingThatFailsLeavesTheFormerRelease(t *testing.T) {
	output := t.TempDir()
	before := map[string]string{"a": "old", "sums": "old"}
	put(t, output, before)
	s := staged(t, output, map[string]string{"a": "new", "b": "new", "sums": "new"})
	err := s.publish([]string{"a", "b", "not-made", "sums"})
	if err == nil || !strings.Contains(err.Error(), "not-made") || !strings.Contains(err.Error(), "as before") {
		t.Errorf("got %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if got := folder(t, output); !maps.Equal(got, before) {
		t.Errorf("got %v", got)
	}
}

func TestFolderInTheWayIsFoundBeforeAnythingIsReplaced(t *testing.T) {
	output := t.TempDir()
	put(t, output, map[string]string{"a": "old"})
	if err := os.Mkdir(filepath.Join(output, "sums"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := staged(t, output, map[string]string{"a": "new", "sums": "new"})
	if err := s.publish([]string{"a", "sums"}); err == nil || !strings.Contains(err.Error(), "sums") {
		t.Errorf("got %v", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if got, want := folder(t, output), map[string]string{"a": "old", "sums": "/"}; !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestStagesOfKilledBuildsAreRemovedAndOthersAreNot(t *testing.T) {
	output := t.TempDir()
	running := staged(t, output, map[string]string{"a": "x"})
	killed := staged(t, output, map[string]string{"a": "x"})
	killed.lock.Close() // as the kernel does
	for _, name := range []string{".skerry-", ".skerry-mine", ".skerry-1x", "skerry-1"} {
		if err := os.Mkdir(filepath.Join(output, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, output, map[string]string{".skerry-77": "a file"})
	next := staged(t, output, nil)
	got := slices.Sorted(maps.Keys(folder(t, output)))
	want := []string{".skerry-", ".skerry-1x", ".skerry-77", ".skerry-mine", "skerry-1", filepath.Base(running.dir), filepath.Base(next.dir)}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBuildsPublishOneAfterTheOther(t *testing.T) {
	output := t.TempDir()
	unlock, err := lockFolder(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lockFolder(ctx, output); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the lock was given twice: %v", err)
	}
	unlock()
	again, err := lockFolder(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
