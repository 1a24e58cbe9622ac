package blockdev

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs a host tool; a missing one is a failure, not a skip.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func sparse(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	return name
}

func probe(t *testing.T, name string) Content {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Probe(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProbeKnowsWhatToolsMake(t *testing.T) {
	for _, c := range []struct {
		command, want, label string
	}{
		{"mke2fs -q -F -t ext2 -L old DEV", "ext2", "old"},
		{"mke2fs -q -F -t ext3 -L old DEV", "ext3", "old"},
		{"mke2fs -q -F -t ext4 -L skerry-data DEV", "ext4", "skerry-data"},
		{"mke2fs -q -F -t ext4 -b 1024 -L small-blocks DEV", "ext4", "small-blocks"},
		{"mkfs.fat -F 32 -n BOOT DEV", "vfat", "BOOT"},
		{"mkfs.fat -F 16 -n BOOT DEV", "vfat", "BOOT"},
		{"mkswap -q DEV", "swap", ""},
		{"cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file /etc/hostname DEV", "LUKS", ""},
		{"cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /etc/hostname DEV", "LUKS", ""},
		{"sgdisk -o -n 1:2048:4095 DEV", "gpt", ""},
	} {
		t.Run(c.command, func(t *testing.T) {
			dev := sparse(t, 64<<20)
			args := strings.Fields(strings.ReplaceAll(c.command, "DEV", dev))
			run(t, args[0], args[1:]...)
			if got := probe(t, dev); got.Type != c.want || got.Label != c.label {
				t.Errorf("got %s, want %s labelled %q", got, c.want, c.label)
			}
		})
	}
}

func TestProbeKnowsErofs(t *testing.T) {
	dev := sparse(t, 0)
	const uuid = "11112222-3333-4444-5555-666677778888"
	run(t, "mkfs.erofs", "-U"+uuid, dev, t.TempDir())
	if got := probe(t, dev); got.Type != "erofs" || got.UUID != uuid {
		t.Errorf("got %s", got)
	}
}

// Formats whose tools need root or are not at hand: the magic alone.
func TestProbeKnowsMagics(t *testing.T) {
	const size = 8 << 20
	for _, c := range []struct {
		want  string
		at    int
		magic string
	}{
		{"btrfs", 65600, "_BHRfS_M"}, {"xfs", 0, "XFSB"}, {"ntfs", 3, "NTFS    "}, {"iso9660", 32769, "CD001"},
		{"squashfs", 0, "hsqs"}, {"f2fs", 1024, "\x10\x20\xf5\xf2"}, {"LVM2", 512, "LABELONE"},
		{"zfs", 131072 + 5*1024, "\x0c\xb1\xba\x00\x00\x00\x00\x00"}, {"zfs", 262144 - 1024, "\x00\x00\x00\x00\x00\xba\xb1\x0c"},
		{"bcache", 4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
		{"RAID member", size - 65536, "\xfc\x4e\x2b\xa9"}, {"RAID member", size - 8192, "\xfc\x4e\x2b\xa9"},
		{"gpt", 4096, "EFI PART"},
		{"mbr", 446, "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00" + strings.Repeat("\x00", 48) + "\x55\xaa"},
	} {
		b := make([]byte, size)
		copy(b[c.at:], c.magic)
		if got, err := Probe(bytes.NewReader(b), size); err != nil || got.Type != c.want {
			t.Errorf("%s at %d: got %s, %v", c.want, c.at, got, err)
		}
	}
}

func TestEmptyMediaAreBlank(t *testing.T) {
	for _, fill := range []byte{0x00, 0xff} {
		for _, size := range []int{0, 512, 4096, 64 << 10, 1 << 20} {
			b := bytes.Repeat([]byte{fill}, size)
			if c, err := Probe(bytes.NewReader(b), int64(size)); err != nil || c.Type != Blank {
				t.Errorf("%d bytes of %#x: %s, %v", size, fill, c, err)
			}
			if size >= HeadBytes {
				b[HeadBytes-1] ^= 1
				if c, _ := Probe(bytes.NewReader(b), int64(size)); c.Type != Unknown {
					t.Errorf("%d bytes of %#x with one bit changed: %s", size, fill, c)
				}
			}
		}
	}
}

func TestRandomBytesAreUnknown(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := make([]byte, 64<<10)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if c, err := Probe(bytes.NewReader(b), int64(len(b))); err != nil || c.Type != Unknown {
			t.Errorf("random bytes: %s, %v", c, err)
		}
	}
}

func TestBackupSuperblockIsNotAFileSystem(t *testing.T) {
	dev := sparse(t, 256<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", dev)
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const backup = 32768*4096 - ExtSuperblockOffset
	shifted := io.NewSectionReader(f, backup, 256<<20-backup)
	if c, err := Probe(shifted, shifted.Size()); err != nil || c.Ext != nil {
		t.Errorf("a backup superblock was taken for a file system: %s, %v", c, err)
	}
}

func TestSuperblockFieldsAreThoseOfDumpe2fs(t *testing.T) {
	dev := sparse(t, 300<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "a-label", dev)
	fields := map[string]string{}
	for line := range strings.Lines(run(t, "dumpe2fs", "-h", dev)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	e := probe(t, dev).Ext
	if e == nil {
		t.Fatal("no superblock found")
	}
	if e.UUID != fields["Filesystem UUID"] || e.Label != fields["Filesystem volume name"] || fields["Block count"] != "76800" || e.Blocks != 76800 ||
		e.BlockBytes != 4096 || e.BlocksPerGroup != 32768 || !e.Clean || e.Errors || e.NeedsRecovery || e.EverMounted || !e.SumValid || !e.HasSum || !e.SparseSuper {
		t.Errorf("got %+v, dumpe2fs says %v", *e, fields)
	}
	run(t, "debugfs", "-w", "-R", "set_super_value state 2", dev)
	run(t, "debugfs", "-w", "-R", "set_super_value mtime now", dev)
	run(t, "debugfs", "-w", "-R", "feature needs_recovery", dev)
	if e := probe(t, dev).Ext; e.Clean || !e.Errors || !e.EverMounted || !e.NeedsRecovery || !e.SumValid {
		t.Errorf("after debugfs: %+v", *e)
	}
}

func TestSetExtLabelKeepsTheSumRight(t *testing.T) {
	dev := sparse(t, 64<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "skerry-new", dev)
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, ExtSuperblockBytes)
	if _, err := f.ReadAt(b, ExtSuperblockOffset); err != nil {
		t.Fatal(err)
	}
	if err := SetExtLabel(b, strings.Repeat("x", 17)); err == nil {
		t.Error("a label of 17 bytes was accepted")
	}
	if err := SetExtLabel(b, "skerry-data"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, ExtSuperblockOffset); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-f", "-n", dev)
	if got := strings.TrimSpace(run(t, "e2label", dev)); got != "skerry-data" {
		t.Errorf("e2label says %q", got)
	}
	b[200] ^= 1
	if e, ok := ParseExt(b); !ok || e.SumValid {
		t.Error("a flipped bit was not noticed")
	}
}

func TestReadPartUUIDsAgreesWithSgdisk(t *testing.T) {
	dev := sparse(t, 8<<20)
	run(t, "sgdisk", "-o", "-n", "1:2048:4095", "-u", "1:11112222-3333-4444-5555-666677778888",
		"-n", "3:4096:6143", "-u", "3:AAAABBBB-CCCC-DDDD-EEEE-FFFF00001111", dev)
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check := func(what string) {
		t.Helper()
		got, err := ReadPartUUIDs(f, 8<<20, 512)
		if err != nil || len(got) != 2 || got[1] != "11112222-3333-4444-5555-666677778888" || got[3] != "aaaabbbb-cccc-dddd-eeee-ffff00001111" {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	check("primary table")
	if _, err := f.WriteAt(make([]byte, 512), 512); err != nil {
		t.Fatal(err)
	}
	check("backup table")
}

func FuzzProbe(f *testing.F) {
	for _, m := range magics {
		b := make([]byte, m.at+len(m.bytes))
		copy(b[m.at:], m.bytes)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Probe(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Error(err)
		}
		ReadPartUUIDs(bytes.NewReader(b), int64(len(b)), 512)
	})
}
