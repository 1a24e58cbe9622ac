package builder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/cache"
)

// imaged is a build whose disk image can be made: 3 MiB, with holes.
func imaged(t *testing.T) *build {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	contents := make([]byte, 3<<20)
	copy(contents[1<<20:], bytes.Repeat([]byte("skerry "), 10_000))
	return &build{cache: c, disk: diskImage{key: "k", path: filepath.Join(t.TempDir(), "disk"), write: func(_ context.Context, path string) error {
		return os.WriteFile(path, contents, 0o644)
	}}}
}

// imageFile returns the disk image of a build, made.
func imageFile(t *testing.T, b *build) string {
	t.Helper()
	made, err := b.disk.file(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return made.Path
}

// The programs that people will unpack images with are the judges.
func TestEveryFormatHoldsTheSameDisk(t *testing.T) {
	for _, format := range Formats {
		b := imaged(t)
		made, _, err := b.convert(t.Context(), format)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		back := filepath.Join(t.TempDir(), "back")
		unpack := map[string][]string{
			"img":     {"cp", made.Path, back},
			"img.zst": {"zstd", "-q", "-d", made.Path, "-o", back},
			"img.xz":  {"sh", "-c", `xz -d -c -F xz "$0" > "$1"`, made.Path, back},
			"qcow2":   {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", made.Path, back},
		}[format]
		if out, err := exec.Command(unpack[0], unpack[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v (run `make deps`): %v\n%s", unpack, err, out)
		}
		want, _ := os.ReadFile(imageFile(t, b))
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s holds another disk, %v", format, err)
		}
		if again, _, err := imaged(t).convert(t.Context(), format); err != nil || again.Key != made.Key {
			t.Errorf("%s: another key for the same disk, %v", format, err)
		} else if format != "img" && !sameBytes(t, again.Path, made.Path) {
			t.Errorf("%s: other bytes for the same disk", format)
		}
	}
}

func sameBytes(t *testing.T, a, b string) bool {
	t.Helper()
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if err := errors.Join(errX, errY); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

func TestCompressingCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	from := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(from, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// It would take longer than a test may.
	if err := os.Truncate(from, 8<<40); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := compressZstd(ctx, filepath.Join(t.TempDir(), "out"), from); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnotherConverterIsAnotherKey(t *testing.T) {
	b := imaged(t)
	before, _, err := b.convert(t.Context(), "img.xz")
	if err != nil {
		t.Fatal(err)
	}
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "xz"), []byte("#!/bin/sh\nexec "+xz+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if after, _, err := b.convert(t.Context(), "img.xz"); err != nil || after.Key == before.Key {
		t.Errorf("the same key for what another xz makes, %v", err)
	}
}
