package builder

import (
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
		"out/skerry-1.2.0-x86_64.img": "x86_64", "skerry-0.0.0-0123456789ab-dirty-arm64.img": "arm64", "disk.img": "",
	} {
		got, err := RunOptions{Image: image}.board()
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", image, got, err)
		}
	}
	if _, err := (RunOptions{Board: "rpi9"}).board(); err == nil {
		t.Error("an unknown board was accepted")
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
