package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
)

func TestBoardComesFromTheImagesName(t *testing.T) {
	for image, want := range map[string]string{
		"out/skerry-1.2.0-x86_64.img": "amd64", "skerry-0.0.0-0123456789ab-dirty-arm64.img": "arm64",
		"skerry-1.2.0-arm64.img.zst": "arm64", "disk.img": "", "skerry-1.2.0-x86_64": "amd64",
	} {
		got, err := RunOptions{Source: "..", Image: image}.board()
		if (err != nil) != (want == "") || err == nil && got.Architecture != want {
			t.Errorf("%s: %+v, %v", image, got, err)
		}
	}
	if got, err := (RunOptions{Source: "..", Image: "x-arm64.img", Board: "x86_64"}).board(); err != nil || got.Architecture != "amd64" {
		t.Errorf("named: %+v, %v", got, err)
	}
	if _, err := (RunOptions{Source: "..", Board: "rpi9"}).board(); err == nil || !strings.Contains(err.Error(), "arm64") {
		t.Errorf("unknown: %v", err)
	}
}

func TestImageThatCannotBeTheDiskIsRefused(t *testing.T) {
	b := imaged(t)
	image := imageFile(t, b) // 3 MiB
	target := filepath.Join(t.TempDir(), "disk")
	for format, advice := range map[string]string{"img.zst": "zstd -d ", "img.xz": "xz -d -k ", "qcow2": "qemu-img convert "} {
		made, _, err := b.convert(t.Context(), format)
		if err != nil {
			t.Fatal(err)
		}
		if err := PrepareDisk(t.Context(), made.Path, target, 0, ""); err == nil || !strings.Contains(err.Error(), advice) || !strings.Contains(err.Error(), made.Path) {
			t.Errorf("%s: %v", format, err)
		}
	}
	if err := PrepareDisk(t.Context(), image, target, 3<<20-512, ""); err == nil || !strings.Contains(err.Error(), "--disk-size") {
		t.Errorf("too small: %v", err)
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("a disk was made")
	}
	if err := PrepareDisk(t.Context(), image, target, 3<<20, ""); err != nil {
		t.Errorf("just large enough: %v", err)
	}
}

func TestInterruptedCopyIsNotTakenForAKeptDisk(t *testing.T) {
	image := imageFile(t, imaged(t))
	dir := t.TempDir()
	target := filepath.Join(dir, "node.disk")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := PrepareDisk(ctx, image, target, 4<<20, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := folder(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// A run that was killed could not tidy up.
	put(t, dir, map[string]string{"node.disk.part": "half"})
	if err := PrepareDisk(t.Context(), image, target, 4<<20, ""); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(target); err != nil || info.Size() != 4<<20 || len(folder(t, dir)) != 1 {
		t.Errorf("got %v, %v", info, err)
	}
	// A config that does not fit leaves no disk without it.
	config := filepath.Join(t.TempDir(), "shop.yaml")
	put(t, filepath.Dir(config), map[string]string{"shop.yaml": "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"})
	other := filepath.Join(dir, "other")
	if err := PrepareDisk(t.Context(), image, other, 0, config); err == nil {
		t.Error("an image without partitions took a config")
	}
	if len(folder(t, dir)) != 1 {
		t.Errorf("left behind: %v", folder(t, dir))
	}
}

func TestMachineGetsACopyWithItsConfig(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "x.img")
	made, err := disk.Create(image, disk.Layout{Seed: uuid.NewSHA1(namespace, []byte("test")),
		Partitions: []disk.Spec{{Name: disk.Boot, Type: disk.EFISystem, Size: 64 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := made.MakeBoot(t.Context(), tree.New(), fat.Options{Label: "X"}); err != nil {
		t.Fatal(err)
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "shop.yaml")
	text := "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\nhostname: shop-17\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "disk")
	if err := PrepareDisk(t.Context(), image, target, 256<<20, config); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(target); err != nil || info.Size() != 256<<20 {
		t.Errorf("the disk has %v, %v", info, err)
	}
	opened, err := disk.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	boot, err := opened.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := boot.ReadFile(configName); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}

	if err := os.WriteFile(config, []byte(text+"hostnam: x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := PrepareDisk(t.Context(), image, other, 0, config); err == nil || !strings.Contains(err.Error(), "shop.yaml:4:1") {
		t.Errorf("bad config: %v", err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a disk was made for a config that is no good")
	}
}

func TestAnImageThatNoVirtualMachineCanLoadIsRefused(t *testing.T) {
	err := Run(t.Context(), RunOptions{Image: "skerry-1.2.0-rpi4.img", Source: ".."})
	if err == nil || !strings.Contains(err.Error(), "board rpi4 are loaded to places in memory that a virtual machine does not have") {
		t.Error(err)
	}
}
