package disk

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sha256sum is the judge.
func TestDigestCountsHolesAsZeros(t *testing.T) {
	for name, layout := range map[string]struct {
		size int64
		data []int64 // where there is data
	}{
		"empty":        {0, nil},
		"one byte":     {1, []int64{0}},
		"hole alone":   {3<<20 + 17, nil},
		"data first":   {5 << 20, []int64{0}},
		"data last":    {5<<20 + 1, []int64{5 << 20}},
		"data between": {40 << 20, []int64{1 << 20, 20<<20 + 4095}},
	} {
		file := filepath.Join(t.TempDir(), "f")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range layout.data {
			if _, err := f.WriteAt([]byte("x"), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Truncate(layout.size), f.Close()); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sha256sum", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Digest(t.Context(), file)
		if want, _, _ := strings.Cut(string(out), " "); err != nil || hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: %x, %v, want %s", name, got, err, want)
		}
	}
}

func TestDigestEndsWithItsContext(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Digest(ctx, file); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := Digest(t.Context(), file+"x"); err == nil {
		t.Error("a missing file has a digest")
	}
}
