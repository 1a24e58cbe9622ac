package mount

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool finds a host program, in sbin too.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, name); isProgram(path) {
			return path
		}
	}
	t.Fatalf("this test needs %s: make deps", name)
	return ""
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// blkid is the authority on what a superblock is.
func TestProbeAgreesWithBlkid(t *testing.T) {
	blkid := tool(t, "blkid")
	src := t.TempDir()
	for name, args := range map[string][]string{
		"ext4":    {"mke2fs", "-q", "-t", "ext4"},
		"ext3":    {"mke2fs", "-q", "-t", "ext3"},
		"ext2":    {"mke2fs", "-q", "-t", "ext2"},
		"bare":    {"mke2fs", "-q", "-t", "ext4", "-O", "^extents,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize,^has_journal"},
		"no ext4": {"mke2fs", "-q", "-t", "ext4", "-O", "^has_journal"},
		"journal": {"mke2fs", "-q", "-O", "journal_dev"},
		"fat32":   {"mkfs.vfat", "-F", "32"},
		"fat16":   {"mkfs.vfat", "-F", "16"},
		"fat12":   {"mkfs.vfat", "-F", "12"},
		"gpt":     {"sgdisk", "-n", "1:2048:"},
		"erofs":   {"mkfs.erofs", "--quiet"},
		"nothing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			size := int64(64 << 20)
			if name == "fat12" {
				size = 2 << 20
			}
			if err := os.WriteFile(image, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, size); err != nil {
				t.Fatal(err)
			}
			if args != nil {
				line := append(args[1:], image)
				if name == "erofs" {
					line = append(line, src)
				}
				if out, err := exec.Command(tool(t, args[0]), line...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", args, err, out)
				}
			}
			// Exit status 2: blkid knows no file system there either.
			out, _ := exec.Command(blkid, "-p", "-s", "TYPE", "-o", "value", image).Output()
			want := strings.TrimSpace(string(out))
			if want == "jbd" {
				want = "" // a journal is no file system
			}
			got, err := Linux{}.Probe(image)
			if err != nil || got != want {
				t.Errorf("probe says %q, %v; blkid says %q", got, err, want)
			}
		})
	}
}

func TestProbeSignatures(t *testing.T) {
	for _, c := range []struct {
		offset int
		magic  string
		want   string
	}{
		{0, "hsqs", "squashfs"}, {0, "XFSB", "xfs"}, {0x10040, "_BHRfS_M", "btrfs"}, {32769, "CD001", "iso9660"},
		{1024, "\x10\x20\xf5\xf2", "f2fs"}, {3, "EXFAT   ", "exfat"}, {3, "NTFS    ", "ntfs3"},
		{510, "\x55\xaa", ""}, // a master boot record
		{0, "LUKS\xba\xbe", ""},
	} {
		image := make([]byte, probeSize)
		copy(image[c.offset:], c.magic)
		if got, err := probe(bytes.NewReader(image)); err != nil || got != c.want {
			t.Errorf("%q at %d is %q, %v; want %q", c.magic, c.offset, got, err, c.want)
		}
	}
	if got, err := probe(bytes.NewReader([]byte("hsqs"))); err != nil || got != "squashfs" {
		t.Errorf("a short image is %q, %v", got, err)
	}
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte("hsqs"))
	f.Add(append(make([]byte, 1024+56), "\x53\xef"...))
	f.Fuzz(func(t *testing.T, image []byte) {
		if _, err := probe(bytes.NewReader(image)); err != nil {
			t.Error(err)
		}
	})
}
