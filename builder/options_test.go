package builder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repository makes a folder that looks like the root of Skerry's, under git.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/skerry-os/skerry\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--date=2026-01-02T03:04:05Z", "-m", "x"},
	} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

func TestSourceIsFoundFromAnyFolderInIt(t *testing.T) {
	root := repository(t)
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := FindSource(deep); err != nil || got != root {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FindSource(t.TempDir()); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("outside: %v", err)
	}
}

func TestVersionAndTimeComeFromGit(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	root := repository(t)
	first, err := readCommit(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); !first.Time.Equal(want) || first.Version != "0.0.0-"+first.Hash[:12] {
		t.Errorf("got %+v", first)
	}
	if out, err := exec.Command("git", "-C", root, "tag", "v1.2.0").CombinedOutput(); err != nil {
		t.Fatalf("git tag: %v\n%s", err, out)
	}
	if tagged, err := readCommit(t.Context(), root); err != nil || tagged.Version != "1.2.0" {
		t.Errorf("tagged: %+v, %v", tagged, err)
	}
	if err := os.WriteFile(filepath.Join(root, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if dirty, err := readCommit(t.Context(), root); err != nil || dirty.Version != "1.2.0-dirty" {
		t.Errorf("changed: %+v, %v", dirty, err)
	}
}

func TestSourceDateEpochStandsInForGit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if c, err := readCommit(t.Context(), dir); err != nil || c.Time.Unix() != 1700000000 || c.Version != "" {
		t.Errorf("got %+v, %v", c, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := readCommit(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("no number: %v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if _, err := readCommit(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("neither: %v", err)
	}
}

func TestOptionsThatCannotWorkAreRefusedFirst(t *testing.T) {
	for want, o := range map[string]Options{
		"img, img.zst, img.xz, qcow2": {Formats: []string{"vmdk"}},
		"boot":                        {Version: "1.0+3"},
		"lower-case":                  {Version: "1.0-RC1"},
	} {
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := (Options{Version: "1.0~rc1", Formats: Formats}).check(); err != nil {
		t.Error(err)
	}
}
