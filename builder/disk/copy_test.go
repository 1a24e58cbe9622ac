package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// sparse makes a file with data at the given offsets only.
func sparse(t *testing.T, size int64, data map[int64][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, b := range data {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestCopyKeepsContentsAndHoles(t *testing.T) {
	mib := bytes.Repeat([]byte("data"), 1<<18)
	for name, src := range map[string]string{
		"empty":           sparse(t, 0, nil),
		"one byte":        sparse(t, 1, map[int64][]byte{0: {7}}),
		"only a hole":     sparse(t, 40<<20, nil),
		"data at the end": sparse(t, 40<<20+5, map[int64][]byte{40 << 20: []byte("12345")}),
		"hole at the end": sparse(t, 40<<20, map[int64][]byte{0: mib}),
		"islands":         sparse(t, 40<<20, map[int64][]byte{1 << 20: mib, 30<<20 + 7: mib, 39 << 20: mib}),
		"no hole":         sparse(t, 20<<20, map[int64][]byte{0: bytes.Repeat(mib, 20)}),
	} {
		dst := filepath.Join(t.TempDir(), "copy")
		if err := Copy(context.Background(), dst, src); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, _ := os.ReadFile(src)
		if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the copy differs: %v", name, err)
		}
		if used, was := allocated(t, dst), allocated(t, src); used > was+1<<20 {
			t.Errorf("%s: the copy takes %d bytes, the original %d", name, used, was)
		}
	}
}

func TestCopyThroughMemoryKeepsContentsAndHoles(t *testing.T) {
	src, err := os.Open(sparse(t, 20<<20+3, map[int64][]byte{5<<20 + 1: []byte("abc"), 20 << 20: []byte("end")}))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if n, err := copyBytes(dst, 0, src, 0, 20<<20+3); err != nil || n != 20<<20+3 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	want, _ := os.ReadFile(src.Name())
	if got, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs: %v", err)
	}
	if used := allocated(t, dst.Name()); used > 1<<20 {
		t.Errorf("the copy takes %d bytes", used)
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestCopyThatFailsLeavesNothingAndReplacesNothing(t *testing.T) {
	src := sparse(t, 1<<20, map[int64][]byte{0: []byte("x")})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := filepath.Join(t.TempDir(), "copy")
	if err := Copy(ctx, dst, src); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(dst); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if err := os.WriteFile(dst, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Copy(context.Background(), dst, src); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v", err)
	}
	if b, _ := os.ReadFile(dst); string(b) != "mine" {
		t.Error("the file was replaced")
	}
}
