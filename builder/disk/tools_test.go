package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/tests/oracle"
)

var (
	testSeed    = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
	testTime    = time.Date(2025, 3, 1, 12, 30, 42, 0, time.UTC)
	testOptions = fat.Options{Label: "SKERRY-BOOT", VolumeID: 0x1234abcd, Time: testTime}
)

func layout(bootMiB int64) Layout {
	return Layout{Seed: testSeed, Partitions: []Spec{
		{Boot, EFISystem, bootMiB << 20},
		{SlotA, LinuxData, 64 << 20},
		{SlotB, LinuxData, 64 << 20},
	}}
}

// fsck checks partition boot of an image with fsck.fat.
func fsck(t testing.TB, image string) {
	t.Helper()
	i, err := Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	p, err := i.Partition(Boot)
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(t.TempDir(), "boot.fat")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(part, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(p.Size); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for at := p.Offset; at < p.Offset+p.Size; {
		start, end, err := NextData(in, at, p.Offset+p.Size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := copyBytes(f, start-p.Offset, in, start, end-start); err != nil {
			t.Fatal(err)
		}
		at = end
	}
	oracle.Must(t, "fsck.fat", "-n", part)
	os.Remove(part)
}

// fill returns a tree of the given files.
func fill(t testing.TB, files map[string][]byte) *tree.Tree {
	t.Helper()
	tr := tree.New()
	for name, contents := range files {
		if err := tr.AddBytes(name, 0o644, contents); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// sample is what partition boot of an image has, and an empty directory.
func sample(t testing.TB) *tree.Tree {
	t.Helper()
	tr := fill(t, map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":              bytes.Repeat([]byte("boot"), 30_000),
		"EFI/Linux/skerry-2025.3.1+abc.efi": bytes.Repeat([]byte("kernel!"), 1_000_001),
		"loader/loader.conf":                []byte("timeout 0\n"),
		"skerry.yaml":                       []byte("hostname: a\n"),
		"empty":                             nil,
	})
	if err := tr.AddDir("nothing", 0o755); err != nil {
		t.Fatal(err)
	}
	return tr
}

// image makes an image with a boot partition and closes it.
func image(t testing.TB, bootMiB int64, tr *tree.Tree) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	i, err := Create(path, layout(bootMiB))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := i.MakeBoot(context.Background(), tr, testOptions); err != nil {
		t.Fatal(err)
	}
	return path
}
