package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/fat"
)

const fatBytes = 34 << 20

// fatImage makes a file system with a few files, one of several clusters.
func fatImage(t testing.TB) string {
	t.Helper()
	folder := func(name string) fat.File { return fat.File{Path: name, Dir: true} }
	file := func(name, contents string) fat.File {
		return fat.File{Path: name, Size: int64(len(contents)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(contents)), nil
		}}
	}
	files := []fat.File{
		folder("EFI"),
		folder("EFI/BOOT"),
		file("EFI/BOOT/BOOTX64.EFI", strings.Repeat("boot", 5000)),
		folder("EFI/Linux"),
		file("EFI/Linux/skerry-1.2.0.efi", strings.Repeat("kernel", 5000)),
		file("empty", ""),
		folder("loader"),
		file("loader/loader.conf", "timeout 0\n"),
	}
	name := filepath.Join(t.TempDir(), "boot.fat")
	made, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if err := made.Truncate(fatBytes); err != nil {
		t.Fatal(err)
	}
	if err := fat.Make(context.Background(), made, 0, fatBytes, files,
		fat.Options{Label: "SKERRY-BOOT", VolumeID: 1, Time: testTime}); err != nil {
		t.Fatal(err)
	}
	return name
}

// damaged is a file system that a test changes.
type damaged struct {
	*fatCheck
	t    testing.TB
	name string
}

func openDamaged(t testing.TB, name string) *damaged {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	v := &fatCheck{report: &Report{}, r: file}
	boot := make([]byte, sectorBytes)
	if _, err := file.ReadAt(boot, 0); err != nil {
		t.Fatal(err)
	}
	if err := v.readBootSector(boot, fatBytes); err != nil {
		t.Fatal(err)
	}
	return &damaged{v, t, name}
}

// link sets what follows a cluster, in both allocation tables.
func (d *damaged) link(cluster, next uint32) {
	b := binary.LittleEndian.AppendUint32(nil, next)
	for n := range d.fatCount {
		patch(d.t, d.name, d.fatOffset+n*d.fatBytes+int64(cluster)*4, b)
	}
}

// slot returns where the directory entry with this short name is.
func (d *damaged) slot(short string) int64 {
	d.t.Helper()
	at := bytes.Index(peek(d.t, d.name, d.dataOffset, 1<<20), []byte(short))
	if at < 0 {
		d.t.Fatalf("no entry %q", short)
	}
	return d.dataOffset + int64(at)
}

func (d *damaged) first(short string) uint32 {
	return firstCluster(peek(d.t, d.name, d.slot(short), slotBytes))
}

// fsckFAT is the oracle: it tells whether fsck.fat has something to say, besides
// a line with its version and one with the result. Its exit code is not enough:
// it is 0 for damage that it does not repair.
func fsckFAT(t testing.TB, name string) (good bool, said string) {
	t.Helper()
	tool, err := exec.LookPath("fsck.fat")
	if err != nil {
		if tool, err = exec.LookPath("/usr/sbin/fsck.fat"); err != nil {
			t.Fatal("fsck.fat is missing: run `make deps`")
		}
	}
	out, err := exec.Command(tool, "-n", name).CombinedOutput()
	return err == nil && bytes.Count(out, []byte("\n")) == 2, string(out)
}

func check(t testing.TB, name string) *Report {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{}
	checkFAT(r, "boot", file, info.Size())
	return r
}

const (
	loaderSlot = "BOOTX64 EFI"
	kernelSlot = "SKERRY~1EFI"
	emptySlot  = "EMPTY      "
	linuxSlot  = "LINUX      "
)

func TestFsckFatAgreesAboutDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*damaged)
		want   []string
	}{
		{"nothing", func(*damaged) {}, nil},
		{"allocation tables differ", func(d *damaged) { flip(t, d.name, d.fatOffset+d.fatBytes+4*9) },
			[]string{"Allocation tables 1 and 2 differ, first for cluster 9"}},
		{"lost clusters", func(d *damaged) { d.link(50000, 50001); d.link(50001, lastCluster) },
			[]string{"2 clusters are in use and belong to no file; the first is 50000", "The FSInfo sector says"}},
		{"cross-link", func(d *damaged) { d.link(d.first(loaderSlot), d.first(kernelSlot)+1) },
			[]string{`belongs to "EFI/BOOT/BOOTX64.EFI" and to "EFI/Linux/skerry-1.2.0.efi"`,
				`"EFI/BOOT/BOOTX64.EFI" has 59 clusters`, "are in use and belong to no file"}},
		{"circle", func(d *damaged) { d.link(d.first(loaderSlot)+1, d.first(loaderSlot)) },
			[]string{"runs in a circle", "are in use and belong to no file"}},
		{"chain leads to a free cluster", func(d *damaged) { d.link(d.first(loaderSlot)+1, 0) },
			[]string{"leads to 0, which is not one of 2", "are in use and belong to no file", "FSInfo"}},
		{"chain leads out of the file system", func(d *damaged) { d.link(d.first(loaderSlot)+1, 0x0ffffff0) },
			[]string{"leads to 268435440, which is not one of 2", "are in use and belong to no file"}},
		{"chain is too short", func(d *damaged) { d.link(d.first(loaderSlot)+1, lastCluster) },
			[]string{`"EFI/BOOT/BOOTX64.EFI" has 2 clusters: its 20000 bytes need 40`, "are in use and belong to no file"}},
		{"size is too small", func(d *damaged) { patch(t, d.name, d.slot(loaderSlot)+28, []byte{1, 0, 0, 0}) },
			[]string{`"EFI/BOOT/BOOTX64.EFI" has 40 clusters: its 1 bytes need 1`}},
		{"size without clusters", func(d *damaged) { patch(t, d.name, d.slot(emptySlot)+28, []byte{1, 0, 0, 0}) },
			[]string{`"empty" has 1 bytes and no clusters`}},
		{"directory with a size", func(d *damaged) { patch(t, d.name, d.slot(linuxSlot)+28, []byte{1, 0, 0, 0}) },
			[]string{`Directory "EFI/Linux" has a size of 1 bytes`}},
		{"directory without clusters", func(d *damaged) {
			at := d.slot(linuxSlot)
			patch(t, d.name, at+20, []byte{0, 0})
			patch(t, d.name, at+26, []byte{0, 0})
		}, []string{`"EFI/Linux" leads to 0`, "are in use and belong to no file"}},
		{"bad short name", func(d *damaged) { patch(t, d.name, d.slot(loaderSlot), []byte("b*")) },
			[]string{"that are not allowed"}},
		{"broken long name", func(d *damaged) { patch(t, d.name, d.slot(kernelSlot), []byte("X")) },
			[]string{"that does not fit the short name"}},
		{"long name without its first part", func(d *damaged) {
			at := d.slot(kernelSlot)
			patch(t, d.name, at-slotBytes, peek(t, d.name, at, slotBytes))
			patch(t, d.name, at, []byte{0xe5})
		}, []string{"that does not fit the short name"}},
		{"dot leads elsewhere", func(d *damaged) { patch(t, d.name, d.slot(".          ")+26, []byte{9}) },
			[]string{"Entry . of"}},
		{"dot dot is missing", func(d *damaged) { patch(t, d.name, d.slot("..         "), []byte("X")) },
			[]string{`is not ".."`}},
		{"free count", func(d *damaged) { flip(t, d.name, sectorBytes+488) },
			[]string{"The FSInfo sector says"}},
		{"FSInfo signature", func(d *damaged) { flip(t, d.name, sectorBytes) },
			[]string{"has no valid signatures"}},
		{"backup of the boot sector", func(d *damaged) { flip(t, d.name, 6*sectorBytes+71) },
			[]string{"The boot sector and its backup at byte 3072 differ"}},
		{"in use", func(d *damaged) { patch(t, d.name, 65, []byte{1}) },
			[]string{"marked as in use"}},
		{"no signature", func(d *damaged) { patch(t, d.name, 510, []byte{0, 0}) },
			[]string{"It is no FAT32 file system: its first sector has no signature"}},
		{"sector size", func(d *damaged) { patch(t, d.name, 11, []byte{1, 3}) },
			[]string{"It is no FAT32 file system: it has sectors of 769 bytes"}},
		{"larger than the partition", func(d *damaged) { patch(t, d.name, 32, []byte{0xff, 0xff, 0xff, 0x0f}) },
			[]string{"It is no FAT32 file system"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := openDamaged(t, fatImage(t))
			test.change(d)
			r := check(t, d.name)
			compare(t, r, test.want)
			if good, said := fsckFAT(t, d.name); good != (len(test.want) == 0) {
				t.Errorf("fsck.fat finds it good: %v\n%s", good, said)
			}
		})
	}
}

func TestFewClustersAreFound(t *testing.T) {
	name := filepath.Join(t.TempDir(), "small.fat")
	if out, err := exec.Command("/usr/sbin/mkfs.fat", "-C", "-F", "32", "-s", "2", name, "65536").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.fat (run `make deps`): %v: %s", err, out)
	}
	compare(t, check(t, name), []string{"with fewer than 65525, firmware may take it for FAT16"})
}

// TestForeignFileSystemsAreGood compares with another implementation.
func TestForeignFileSystemsAreGood(t *testing.T) {
	name := filepath.Join(t.TempDir(), "boot.fat")
	if out, err := exec.Command("/usr/sbin/mkfs.fat", "-C", "-F", "32", "-s", "1", "-n", "LABEL", name, "65536").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.fat (run `make deps`): %v: %s", err, out)
	}
	source := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(source, bytes.Repeat([]byte("x"), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mmd", "-i", name, "::/folder with a long name", "::/folder with a long name/sub"},
		{"mcopy", "-i", name, source, "::/folder with a long name/Ünïcode and " + strings.Repeat("long", 20)},
		{"mcopy", "-i", name, source, "::/lower.txt"},
		{"mcopy", "-i", name, source, "::/UPPER.TXT"},
		{"mdel", "-i", name, "::/lower.txt"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v (run `make deps`): %v: %s", args, err, out)
		}
	}
	compare(t, check(t, name), nil)
	if good, said := fsckFAT(t, name); !good {
		t.Errorf("fsck.fat: %s", said)
	}
}

// smallFAT is a file system of few clusters for fuzzing: a root directory, a
// directory in it, and a file of two clusters.
func smallFAT() []byte {
	b := make([]byte, 32*sectorBytes)
	le := binary.LittleEndian
	le.PutUint16(b[11:], sectorBytes)
	b[13], b[16], b[21] = 1, 2, 0xf8
	le.PutUint16(b[14:], 8) // reserved
	le.PutUint32(b[32:], 32)
	le.PutUint32(b[36:], 1)
	le.PutUint32(b[44:], 2)
	le.PutUint16(b[48:], 1)
	le.PutUint16(b[50:], 6)
	b[510], b[511] = 0x55, 0xaa
	copy(b[6*sectorBytes:], b[:sectorBytes])
	info := b[sectorBytes:]
	le.PutUint32(info, 0x41615252)
	le.PutUint32(info[484:], 0x61417272)
	le.PutUint32(info[488:], 18)
	le.PutUint32(info[508:], 0xaa550000)
	for n, next := range []uint32{0x0ffffff8, lastCluster, lastCluster, lastCluster, 5, lastCluster} {
		le.PutUint32(b[8*sectorBytes+4*n:], next)
		le.PutUint32(b[9*sectorBytes+4*n:], next)
	}
	put := func(at int, short string, attributes byte, cluster uint16, size uint32) {
		copy(b[at:], short)
		b[at+11] = attributes
		le.PutUint16(b[at+26:], cluster)
		le.PutUint32(b[at+28:], size)
	}
	root, dir := 10*sectorBytes, 11*sectorBytes
	put(root, "LABEL      ", attrVolume, 0, 0)
	put(root+32, "EFI        ", attrDirectory, 3, 0)
	put(dir, ".          ", attrDirectory, 3, 0)
	put(dir+32, "..         ", attrDirectory, 0, 0)
	put(dir+64, "FILE    TXT", 0, 4, 600)
	return b
}

func TestSmallFATIsGoodButForItsSize(t *testing.T) {
	r := &Report{}
	checkFAT(r, "boot", bytes.NewReader(smallFAT()), int64(len(smallFAT())))
	compare(t, r, []string{"It has 22 clusters"})
}

func FuzzCheckFAT(f *testing.F) {
	good := smallFAT()
	f.Add(good)
	for _, at := range []int{13, 36, 44, 8*sectorBytes + 16, 11*sectorBytes + 26, 10*sectorBytes + 43} {
		b := bytes.Clone(good)
		b[at] ^= 3
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Report{}
		if used := checkFAT(r, "boot", bytes.NewReader(b), int64(len(b))); used > int64(len(b)) {
			t.Errorf("%d of %d bytes are used", used, len(b))
		}
		// What the checker finds good, the reader must be able to read.
		if len(r.Findings) == 0 || len(r.Findings) == 1 && strings.Contains(r.Findings[0].What, "with fewer than") {
			v, err := fat.Open(bytes.NewReader(b), int64(len(b)))
			if err == nil {
				err = v.Check()
			}
			if err != nil {
				t.Errorf("no findings, but: %v", err)
			}
		}
	})
}
