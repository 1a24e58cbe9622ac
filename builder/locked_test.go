package builder

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/release"
)

// lockable is a board that the packages of locked are enough for.
func lockable() *board.Board {
	return &board.Board{
		Name: "x86_64", Architecture: "amd64",
		Bootloader: board.Bootloader{Package: "systemd-boot-efi"},
		Firmware:   []string{"firmware-bnx2"},
		Programs:   []board.Program{{Package: "e2fsprogs", Files: []string{"/usr/sbin/mke2fs"}}},
	}
}

const lockedKernel = "linux-image-6.12.1-amd64"

// locked writes a manifest with these packages.
func locked(t *testing.T, packages ...string) string {
	t.Helper()
	m := manifest(t)
	m.Overlays = []string{"base"}
	m.Packages = nil
	for _, name := range packages {
		m.Packages = append(m.Packages, release.Package{Name: name, Version: "1", Architecture: "amd64",
			Filename: "pool/" + name + ".deb", Size: 1, SHA256: release.Digest{1}})
	}
	encoded, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, encoded, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLockedBuildUsesTheRecordedPackages(t *testing.T) {
	file := locked(t, "e2fsprogs", "firmware-bnx2", "libc6", lockedKernel, "systemd-boot-efi")
	packages, kernel, err := lockedPackages(file, lockable())
	if err != nil || kernel != lockedKernel {
		t.Fatalf("kernel %q, %v", kernel, err)
	}
	var names []string
	for _, p := range packages {
		names = append(names, p.Name)
	}
	if want := []string{"e2fsprogs", "firmware-bnx2", "libc6", lockedKernel, "systemd-boot-efi"}; !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
	if p := packages[0]; p.Version != "1" || p.Filename != "pool/e2fsprogs.deb" || p.SHA256 != (release.Digest{1}).String() {
		t.Errorf("got %+v", p)
	}
}

func TestManifestThatLacksAPackageIsRefused(t *testing.T) {
	all := []string{"e2fsprogs", "firmware-bnx2", lockedKernel, "systemd-boot-efi"}
	for i, name := range all {
		_, _, err := lockedPackages(locked(t, slices.Delete(slices.Clone(all), i, i+1)...), lockable())
		want := name
		if name == lockedKernel {
			want = kernelPrefix
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	// A name that begins alike is another package.
	_, _, err := lockedPackages(locked(t, "e2fsprogs-l10n", "firmware-bnx2x", lockedKernel, "systemd-boot-efi"), lockable())
	if err == nil || !strings.Contains(err.Error(), "lacks e2fsprogs, firmware-bnx2,") {
		t.Errorf("got %v", err)
	}
}

func TestManifestThatIsAmbiguousOrOfAnotherBoardIsRefused(t *testing.T) {
	all := []string{"e2fsprogs", "firmware-bnx2", lockedKernel, "systemd-boot-efi"}
	other, foreign := lockable(), lockable()
	other.Name, foreign.Architecture = "arm64", "arm64"
	for want, err := range map[string]error{
		"2 packages linux-image-": errorOf(lockedPackages(locked(t, append(all, "linux-image-6.12.2-amd64")...), lockable())),
		"e2fsprogs twice":         errorOf(lockedPackages(locked(t, append(all, "e2fsprogs")...), lockable())),
		"board x86_64 (amd64), and this build is for arm64 (amd64)":  errorOf(lockedPackages(locked(t, all...), other)),
		"board x86_64 (amd64), and this build is for x86_64 (arm64)": errorOf(lockedPackages(locked(t, all...), foreign)),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func errorOf[A, B any](_ A, _ B, err error) error { return err }
