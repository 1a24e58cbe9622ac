//go:build system

package tests

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/cache"
)

// The images of this run were built in the repository, with whatever the user's
// cache held. A build of a copy in another folder, as a checkout under another
// umask has it, in another time zone, with empty caches of the builder and of Go,
// from the record that the first build made of its packages, must give the same
// bytes.
func TestSameCommitGivesTheSameBytesElsewhere(t *testing.T) {
	for _, board := range []string{"x86_64", "arm64"} {
		t.Run(board, func(t *testing.T) { makeElsewhere(t).build(t, board) })
	}
	// All that differs between these are packages and what is made last: one cold
	// cache serves all.
	var e *elsewhere
	for _, board := range ubootBoards {
		if e == nil {
			e = makeElsewhere(t)
		}
		t.Run(board, func(t *testing.T) { e.build(t, board) })
	}
}

// elsewhere is a copy of the repository in another folder, with a cache that has
// packages only.
type elsewhere struct{ dir, source, cache string }

func makeElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	source, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "a folder elsewhere")
	e := &elsewhere{dir, filepath.Join(dir, "source"), filepath.Join(dir, "cache")}
	copyTree(t, e.source, source, 0o077, "bin", "out")
	return e
}

func (e *elsewhere) build(t *testing.T, board string) {
	timed(t)
	i := built(t, board)
	program, err := builderCommand()
	if err != nil {
		t.Fatal(err)
	}
	own, err := cache.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	// What is this board's alone takes much of a disk.
	t.Cleanup(func() { e.forget(t, "slot-*") })
	// Packages are known by their hashes: downloading them again proves nothing.
	debian := filepath.Join(e.cache, "debian")
	if err := os.RemoveAll(debian); err != nil {
		t.Fatal(err)
	}
	linkTree(t, debian, filepath.Join(own, "debian"))

	output := filepath.Join(t.TempDir(), "output")
	// Only a shell can give a program another umask.
	script := `umask 077 && exec "$0" "$@"`
	args := []string{"-c", script, program, "--source", e.source, "build", "--board", i.board,
		"--version", version, "--output", output, "--cache", e.cache, "--locked", i.file("manifest.json")}
	cmd := exec.Command("sh", append(args, bare...)...)
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch(), "TZ=Asia/Kathmandu", "LC_ALL=C", "HOME="+e.dir,
		"GOCACHE="+filepath.Join(e.dir, "go"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("builder build: %v\n%s", err, out)
	}
	names := []string{"skerry-" + version + "-" + board + ".manifest.json", "skerry-" + version + "-" + board + ".spdx.json"}
	for _, a := range i.manifest.Artifacts {
		names = append(names, a.Name)
	}
	for _, name := range names {
		if out, err := exec.Command("cmp", filepath.Join(i.dir, name), filepath.Join(output, name)).CombinedOutput(); err != nil {
			t.Errorf("%s differs: %s", name, out)
		}
	}
}

// forget removes results of steps from the cache.
func (e *elsewhere) forget(t *testing.T, pattern string) {
	t.Helper()
	results, err := filepath.Glob(filepath.Join(e.cache, cache.Steps, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range results {
		if err := os.RemoveAll(name); err != nil {
			t.Error(err)
		}
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// copyTree copies a checkout, as git would make it under a umask.
func copyTree(t *testing.T, to, from string, umask fs.FileMode, except ...string) {
	t.Helper()
	walk(t, to, from, func(target, source string, entry fs.DirEntry) error {
		for _, name := range except {
			if source == filepath.Join(from, name) {
				return fs.SkipDir
			}
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			return os.Mkdir(target, 0o777&^umask)
		case fs.ModeSymlink:
			link, err := os.Readlink(source)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		}
		mode := fs.FileMode(0o666)
		if info.Mode()&0o100 != 0 {
			mode = 0o777
		}
		return copyFile(target, source, mode&^umask)
	})
}

// linkTree gives a tree of files another name, and copies them where that
// cannot be.
func linkTree(t *testing.T, to, from string) {
	t.Helper()
	walk(t, to, from, func(target, source string, entry fs.DirEntry) error {
		if entry.IsDir() {
			return os.Mkdir(target, 0o777)
		}
		if os.Link(source, target) == nil {
			return nil
		}
		return copyFile(target, source, 0o666)
	})
}

func walk(t *testing.T, to, from string, each func(target, source string, entry fs.DirEntry) error) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(from, func(source string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, source)
		if err != nil {
			return err
		}
		return each(filepath.Join(to, relative), source, entry)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(to, from string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
