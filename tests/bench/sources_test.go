package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, contents string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCopyIsTheTreeAsItIsNow(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	git(t, from, "init", "-q")
	write(t, filepath.Join(from, ".gitignore"), "/out/\n")
	write(t, filepath.Join(from, "changed"), "old")
	write(t, filepath.Join(from, "deleted"), "old")
	if err := os.Symlink("usr/bin", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	git(t, from, "add", "--all")
	git(t, from, "commit", "-q", "-m", "a")
	write(t, filepath.Join(from, "changed"), "new")
	write(t, filepath.Join(from, "deep/er/added"), "added")
	write(t, filepath.Join(from, "out/image"), "large")
	if err := os.Remove(filepath.Join(from, "deleted")); err != nil {
		t.Fatal(err)
	}
	if err := (&session{source: from}).copySources(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if got := git(t, to, "ls-files"); got != ".gitignore\nchanged\ndeep/er/added\nlink" {
		t.Errorf("the copy has %q", got)
	}
	if status := git(t, to, "status", "--porcelain"); status != "" {
		t.Errorf("the copy is not committed: %s", status)
	}
	if contents, err := os.ReadFile(filepath.Join(to, "changed")); err != nil || string(contents) != "new" {
		t.Errorf("got %q, %v", contents, err)
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); err != nil || target != "usr/bin" {
		t.Errorf("got %q, %v", target, err)
	}
}

func TestAgentIsAnotherOneInEachRun(t *testing.T) {
	dir := t.TempDir()
	seen := map[string]bool{}
	write(t, filepath.Join(dir, changedFile), "")
	for run := range 3 {
		if err := changeAgent(dir, run); err != nil {
			t.Fatal(err)
		}
		contents, err := os.ReadFile(filepath.Join(dir, changedFile))
		if err != nil || seen[string(contents)] {
			t.Errorf("run %d: the same again, %v", run, err)
		}
		seen[string(contents)] = true
	}
	if out, err := exec.Command("go", "vet", filepath.Join(dir, changedFile)).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
