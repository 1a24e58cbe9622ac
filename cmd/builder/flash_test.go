package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
)

// flashable makes an image for the board rpi4, and a file that stands in for a disk.
func flashable(t *testing.T) (image, device string) {
	t.Helper()
	dir := t.TempDir()
	image, device = filepath.Join(dir, "skerry-1.2.0-rpi4.img"), filepath.Join(dir, "disk")
	i, err := disk.Create(image, disk.Layout{Seed: uuid.NameSpaceURL, Partitions: []disk.Spec{{Name: disk.Boot, Type: disk.EFISystem, Size: 64 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := i.MakeBoot(t.Context(), tree.New(), fat.Options{Label: "SKERRY-BOOT"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(device, bytes.Repeat([]byte("old"), 27<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(device, 80<<20); err != nil {
		t.Fatal(err)
	}
	return image, device
}

func TestFlashWritesTheImageAndTheConfig(t *testing.T) {
	image, device := flashable(t)
	bmap, imager := filepath.Join(t.TempDir(), "bmap"), filepath.Join(t.TempDir(), "imager.json")
	code, stdout, stderr := invoke("flash", image, device, "--force", "--yes", "--json", "--hostname", "shop-17", "--bmap", bmap, "--imager-json", imager)
	var result flashed
	if err := json.Unmarshal([]byte(stdout), &result); code != 0 || err != nil || result.Device != device || result.ImageBytes != 66<<20 {
		t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
	}
	i, err := disk.Open(device)
	if err == nil {
		t.Cleanup(func() { i.Close() })
	}
	if err != nil {
		t.Fatal(err)
	}
	boot, err := i.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := boot.ReadFile("skerry.yaml"); err != nil || !strings.Contains(string(b), "hostname: shop-17") {
		t.Errorf("config is %q, %v", b, err)
	}
	if b, err := os.ReadFile(bmap); err != nil || !strings.Contains(string(b), `<bmap version="2.0">`) {
		t.Errorf("block map: %v", err)
	}
	if b, err := os.ReadFile(imager); err != nil || !json.Valid(b) || !strings.Contains(string(b), "pi4-64bit") || !strings.Contains(string(b), "Skerry 1.2.0") {
		t.Errorf("entry for Imager: %s, %v", b, err)
	}
}

func TestFlashRefusesBeforeItTouchesAnything(t *testing.T) {
	image, device := flashable(t)
	before, err := os.ReadFile(device)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(image), "skerry-1.2.0-x86_64.img")
	if err := os.Link(image, other); err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(t.TempDir(), "small")
	if err := os.WriteFile(small, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"flash", exitUsage, "arg"},
		{"flash IMAGE DEVICE --yes", exitFailed, "flash DEVICE: it is a file, not a disk"},
		{"flash IMAGE DEVICE --force", exitUsage, "pass --yes"},
		{"flash IMAGE DEVICE.gone --force --yes", exitFailed, "no such file"},
		{"flash IMAGE /dev/null --force --yes", exitFailed, "flash /dev/null: it is not a disk"},
		{"flash IMAGE.gone DEVICE --force --yes", exitFailed, "no such file"},
		{"flash IMAGE SMALL --force --yes", exitFailed, "use a larger disk"},
		{"flash IMAGE DEVICE --force --yes --hostname NO", exitFailed, "hostname"},
		{"flash IMAGE DEVICE --force --yes --token-file /dev/null", exitFailed, "is empty"},
		{"flash IMAGE --hostname a", exitUsage, "which disk?"},
		{"flash - DEVICE --force --yes --imager-json x", exitUsage, "standard input"},
		{"flash OTHER --imager-json x", exitFailed, "no Raspberry Pi"},
	} {
		put := strings.NewReplacer("IMAGE", image, "DEVICE", device, "SMALL", small, "OTHER", other)
		code, _, stderr := invoke(strings.Fields(put.Replace(c.line))...)
		if code != c.code || !strings.Contains(stderr, put.Replace(c.want)) {
			t.Errorf("%s: exit code %d, %s", c.line, code, stderr)
		}
	}
	if after, err := os.ReadFile(device); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the disk was changed: %v", err)
	}
}

func TestFlashListsDisksForMachines(t *testing.T) {
	code, stdout, stderr := invoke("flash", "x.img", "--json")
	var disks []map[string]any
	if err := json.Unmarshal([]byte(stdout), &disks); code != 0 || err != nil || disks == nil {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
}
