package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/skerry-os/skerry/builder/tree"
)

func sample(t *testing.T) *tree.Tree {
	t.Helper()
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, bytes.Repeat([]byte("module "), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for _, err := range []error{
		tr.AddBytes("init", 0o755, []byte("#!")),
		tr.AddBytes("etc/empty", 0o640, nil),
		tr.AddBytes("etc/Käse", 0o644, []byte("x")),
		tr.AddDir("tmp", 0o777|fs.ModeSticky),
		tr.AddDir("proc", 0o555),
		tr.AddSymlink("usr/sbin/init", "/init"),
		tr.AddSource("lib/modules/a.ko", 0o644, source),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func build(t testing.TB, tr *tree.Tree) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Make(context.Background(), tr, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// run feeds input to a host tool and returns what it prints.
func run(t *testing.T, dir string, input []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s (run `make deps`)", name, err, stderr.Bytes())
	}
	return out
}

func TestArchiveIsReadByZstdAndCpio(t *testing.T) {
	archive := run(t, "", build(t, sample(t)), "zstd", "-dcq", "-M4MiB")
	list := string(run(t, "", archive, "cpio", "-itvn", "--quiet"))
	want := [][]string{ // mode, links, owner, group, the end of the line
		{"drwxr-xr-x", "2", "0", "0", " dev"},
		{"crw-------", "1", "0", "0", " dev/console"},
		{"drwxr-xr-x", "2", "0", "0", " etc"},
		{"-rw-r--r--", "1", "0", "0", "1970 etc/Käse"},
		{"-rw-r-----", "1", "0", "0", "1970 etc/empty"},
		{"-rwxr-xr-x", "1", "0", "0", "1970 init"},
		{"drwxr-xr-x", "2", "0", "0", " lib"},
		{"drwxr-xr-x", "2", "0", "0", " lib/modules"},
		{"-rw-r--r--", "1", "0", "0", "1970 lib/modules/a.ko"},
		{"dr-xr-xr-x", "2", "0", "0", " proc"},
		{"drwxrwxrwt", "2", "0", "0", " tmp"},
		{"drwxr-xr-x", "2", "0", "0", " usr"},
		{"drwxr-xr-x", "2", "0", "0", " usr/sbin"},
		{"lrwxrwxrwx", "1", "0", "0", " usr/sbin/init -> /init"},
	}
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != len(want) {
		t.Fatalf("cpio lists %d entries, want %d:\n%s", len(lines), len(want), list)
	}
	for i, w := range want {
		fields := strings.Fields(lines[i])
		if strings.Join(fields[:4], " ") != strings.Join(w[:4], " ") || !strings.HasSuffix(lines[i], w[4]) {
			t.Errorf("entry %d is\n%s\nwant %v", i, lines[i], w)
		}
	}
	if !strings.Contains(lines[1], "5,   1") {
		t.Errorf("console is not device 5:1: %s", lines[1])
	}
}

func TestContentsSurvive(t *testing.T) {
	archive := run(t, "", build(t, sample(t)), "zstd", "-dcq")
	dir := t.TempDir()
	run(t, dir, archive, "cpio", "-idm", "--quiet", "--no-absolute-filenames", "etc/*", "lib/*", "init")
	for name, want := range map[string]string{
		"init": "#!", "etc/empty": "", "etc/Käse": "x", "lib/modules/a.ko": strings.Repeat("module ", 5000),
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s has %d bytes (%v), want %d", name, len(got), err, len(want))
		}
	}
}

func TestTimesAreZeroAndInodesCount(t *testing.T) {
	archive := run(t, "", build(t, sample(t)), "zstd", "-dcq")
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(archive)))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if r.MTime != 0 || r.Ino != uint64(i+1) || r.Major != 0 || r.Minor != 0 {
			t.Errorf("record %d is %v", i, r.Info)
		}
	}
}

func TestSameBytesOnAnyNumberOfCores(t *testing.T) {
	tr := tree.New()
	if err := tr.AddSource("init", 0o755, os.Args[0]); err != nil { // some megabytes of code
		t.Fatal(err)
	}
	first := build(t, tr)
	for _, cores := range []int{1, 2, 7} {
		old := runtime.GOMAXPROCS(cores)
		again := build(t, tr)
		runtime.GOMAXPROCS(old)
		if !bytes.Equal(first, again) {
			t.Errorf("on %d cores the archive differs", cores)
		}
	}
}

func TestWindowIsWithinWhatTheKernelAllocates(t *testing.T) {
	tr := tree.New()
	if err := tr.AddBytes("big", 0o644, make([]byte, 40<<20)); err != nil {
		t.Fatal(err)
	}
	// zstd refuses a frame that needs more memory than -M allows.
	if got := run(t, "", build(t, tr), "zstd", "-dcq", "-M4MiB"); len(got) < 40<<20 {
		t.Errorf("%d bytes came back", len(got))
	}
}

func TestMakeRefuses(t *testing.T) {
	for name, fill := range map[string]func(*tree.Tree) error{
		"it is added as a device": func(tr *tree.Tree) error { return tr.AddBytes("dev/console", 0o600, nil) },
		"has no place":            func(tr *tree.Tree) error { return tr.AddSymlink("dev", "run") },
		"no such file":            func(tr *tree.Tree) error { return tr.AddSource("a", 0o644, "/nonexistent/a") },
		"only files, directories": func(tr *tree.Tree) error { return tr.Add("s", tree.File{Mode: fs.ModeSocket}) },
	} {
		tr := tree.New()
		if err := fill(tr); err != nil {
			t.Fatal(err)
		}
		if err := Make(context.Background(), tr, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error is %v, want one with %q", err, name)
		}
	}
}

func TestMakeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Make(ctx, sample(t), &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
