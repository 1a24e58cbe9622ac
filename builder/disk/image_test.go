package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/skerry-os/skerry/tests/oracle"
)

func TestSgdiskFindsNoProblemAndTheSameTable(t *testing.T) {
	path := image(t, 64, sample(t))
	if out := oracle.Must(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	i, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if out := oracle.Must(t, "sgdisk", "-p", path); !strings.Contains(out, i.ID()) {
		t.Errorf("sgdisk does not show the disk identifier %s:\n%s", i.ID(), out)
	}
	if len(i.Partitions()) != 3 {
		t.Fatalf("partitions: %+v", i.Partitions())
	}
	offset := int64(1 << 20)
	for n, p := range i.Partitions() {
		want := layout(64).Partitions[n]
		if p.Number != n+1 || p.Name != want.Name || p.Size != want.Size || p.Offset != offset {
			t.Errorf("partition is %+v, want %+v at %d", p, want, offset)
		}
		offset += p.Size
		out := oracle.Must(t, "sgdisk", "-i", string(rune('1'+n)), path)
		for _, s := range []string{want.Type, p.ID, "'" + want.Name + "'"} {
			if !strings.Contains(out, s) {
				t.Errorf("sgdisk shows no %s for partition %d:\n%s", s, n+1, out)
			}
		}
	}
	if i.Size() != offset+1<<20 {
		t.Errorf("the image has %d bytes, its last partition ends at %d", i.Size(), offset)
	}
}

func TestImageHasHolesWhereNothingWasWritten(t *testing.T) {
	info, err := os.Stat(image(t, 512, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 16<<20 {
		t.Errorf("the image takes %d of its %d bytes", used, info.Size())
	}
}

func TestSameBytesWhateverTheHost(t *testing.T) {
	want, err := os.ReadFile(image(t, 64, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	defer syscall.Umask(syscall.Umask(0o077))
	got, err := os.ReadFile(image(t, 64, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the image depends on time zone, environment, umask or directory")
	}
}

func TestIdentifiersComeFromTheSeed(t *testing.T) {
	a, _, err := layout(64).Place()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range a {
		seen[p.ID] = true
	}
	other := layout(64)
	other.Seed[0] ^= 1
	b, _, err := other.Place()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range b {
		seen[p.ID] = true
	}
	if len(seen) != 6 || layout(64).DiskID() == other.DiskID() {
		t.Errorf("identifiers: %v", seen)
	}
}

func TestLayoutRefuses(t *testing.T) {
	for want, change := range map[string]func(*Layout){
		"0 partitions":         func(l *Layout) { l.Partitions = nil },
		"129 partitions":       func(l *Layout) { l.Partitions = make([]Spec, 129) },
		"a multiple of 1 MiB":  func(l *Layout) { l.Partitions[1].Size++ },
		"has 0 bytes":          func(l *Layout) { l.Partitions[1].Size = 0 },
		"on a disk of at most": func(l *Layout) { l.Partitions[1].Size = 1 << 62 },
		"is called \"boot\"":   func(l *Layout) { l.Partitions[2].Name = Boot },
		"is called \"\"":       func(l *Layout) { l.Partitions[0].Name = "" },
		"is called \"xxxxx":    func(l *Layout) { l.Partitions[0].Name = strings.Repeat("x", 37) },
		"type of partition":    func(l *Layout) { l.Partitions[0].Type = "ESP" },
	} {
		l := layout(64)
		change(&l)
		path := filepath.Join(t.TempDir(), "x")
		if _, err := Create(path, l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file is left", want)
		}
	}
}

func TestCreateDoesNotReplaceAFile(t *testing.T) {
	path := image(t, 64, sample(t))
	if _, err := Create(path, layout(64)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v", err)
	}
}

func TestFillCopiesIntoItsPartitionOnly(t *testing.T) {
	path := image(t, 64, sample(t))
	i, err := open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	slot, err := os.Create(filepath.Join(t.TempDir(), "slot"))
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Close()
	want := make([]byte, 3<<20+5)
	rand.NewChaCha8([32]byte{}).Read(want)
	if _, err := slot.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := i.Fill(context.Background(), SlotB, slot); err != nil {
		t.Fatal(err)
	}
	p, _ := i.Partition(SlotB)
	got, err := io.ReadAll(i.Reader(p))
	if err != nil || !bytes.Equal(got[:len(want)], want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
		t.Errorf("the slot differs: %v", err)
	}
	p, _ = i.Partition(SlotA)
	if got, err := io.ReadAll(i.Reader(p)); err != nil || len(bytes.Trim(got, "\x00")) > 0 {
		t.Errorf("the other slot was written: %v", err)
	}
	fsck(t, path)

	if err := slot.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := i.Fill(context.Background(), SlotB, slot); err != nil {
		t.Errorf("a slot image of the partition's size: %v", err)
	}
	if err := slot.Truncate(64<<20 + 1); err != nil {
		t.Fatal(err)
	}
	if err := i.Fill(context.Background(), SlotB, slot); err == nil || !strings.Contains(err.Error(), "make it larger") {
		t.Errorf("one byte more: %v", err)
	}
	if err := i.Fill(context.Background(), "data", slot); err == nil || !strings.Contains(err.Error(), "has no partition data, only boot, slot-a, slot-b") {
		t.Errorf("a partition that is not there: %v", err)
	}
}

func TestOpenUsesTheBackupTable(t *testing.T) {
	path := image(t, 64, sample(t))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 512), 1024); err != nil { // the first entries
		t.Fatal(err)
	}
	i, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if _, err := i.Partition(SlotB); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := image(t, 64, sample(t))
	// patch changes the primary header and makes its checksum right again.
	patch := func(at int, value uint32) func(*testing.T, *os.File) {
		return func(t *testing.T, f *os.File) {
			h := make([]byte, 92)
			if _, err := f.ReadAt(h, 512); err != nil {
				t.Fatal(err)
			}
			binary.LittleEndian.PutUint32(h[at:], value)
			clear(h[16:20])
			binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
			if _, err := f.WriteAt(h, 512); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(n int64) func(*testing.T, *os.File) {
		return func(t *testing.T, f *os.File) {
			if err := f.Truncate(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	for want, spoil := range map[string]func(*testing.T, *os.File){
		"4294967295 entries of 128": patch(80, 1<<32-1),
		"entries of 0":              patch(84, 0),
		"entries of 4294967168":     patch(84, 1<<32-128),
		"0 bytes are no disk image": truncate(0),
		"is the file complete?":     truncate(100 << 20), // in the middle of slot-a
		"partition table":           func(_ *testing.T, f *os.File) { f.WriteAt(make([]byte, 1<<20), 0); f.Truncate(100 << 20) },
	} {
		path := filepath.Join(t.TempDir(), "copy")
		if err := Copy(context.Background(), path, good); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		spoil(t, f)
		f.Close()
		if i, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
			if err == nil {
				i.Close()
			}
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

// prefix is a disk whose first bytes are given. The others are zero.
type prefix struct{ *io.SectionReader }

func newPrefix(b []byte, size int64) *prefix {
	return &prefix{io.NewSectionReader(readerAt(func(to []byte, at int64) (int, error) {
		clear(to)
		if at < int64(len(b)) {
			copy(to, b[at:])
		}
		return len(to), nil
	}), 0, size)}
}

func (p *prefix) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (p *prefix) Close() error               { return nil }

type readerAt func([]byte, int64) (int, error)

func (r readerAt) ReadAt(b []byte, at int64) (int, error) { return r(b, at) }

func FuzzReadTable(f *testing.F) {
	disk, err := os.Open(image(f, 64, fill(f, nil)))
	if err != nil {
		f.Fatal(err)
	}
	defer disk.Close()
	seed := make([]byte, 3*sectorBytes)
	if _, err := disk.ReadAt(seed, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(seed), int64(200<<20))
	f.Add(bytes.Clone(seed), int64(2<<20))
	withMBR, err := os.Open(mbrImage(f))
	if err != nil {
		f.Fatal(err)
	}
	defer withMBR.Close()
	if _, err := withMBR.ReadAt(seed, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(seed), int64(300<<20))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		_, partitions, err := readTable(newPrefix(b, size), size)
		if err != nil {
			return
		}
		for _, p := range partitions {
			if p.Offset < 0 || p.Size <= 0 || p.Offset+p.Size > size {
				t.Errorf("partition %+v of a disk of %d bytes", p, size)
			}
		}
	})
}
