package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/skerry-os/skerry/tests/oracle"
)

func TestFsckFatAcceptsAllSizesAndFirmwareTakesThemForFAT32(t *testing.T) {
	for _, mib := range []int64{64, 65, 100, 127, 128, 129, 255, 256, 260, 261, 264, 512, 1024} {
		path := image(t, mib, files(sample()))
		fsck(t, path)
		v, _ := open(t, path)
		if n, size := v.Clusters(); n < MinClusters || (n/2 > MinClusters+1000 && size < 32<<10) {
			t.Errorf("%d MiB: %d clusters of %d bytes", mib, n, size)
		}
		if v.dataOffset%4096 != 0 {
			t.Errorf("%d MiB: data begins at %d, across pages", mib, v.dataOffset)
		}
		os.Remove(path)
	}
}

func TestMtoolsReadWhatIsMade(t *testing.T) {
	contents := sample()
	list := files(contents)
	path := image(t, 64, list)
	to := t.TempDir()
	oracle.Must(t, "mcopy", "-s", "-m", "-i", path, "::*", to)
	found := 0
	if err := filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == to {
			return err
		}
		found++
		rel, _ := filepath.Rel(to, p)
		if !slices.ContainsFunc(list, func(f File) bool { return f.Path == rel && f.Dir == d.IsDir() }) {
			t.Errorf("%s was not put in", rel)
			return nil
		}
		if d.IsDir() {
			return nil
		}
		want := contents[rel]
		if got, err := os.ReadFile(p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, want %d: %v", rel, len(got), len(want), err)
		}
		if info, err := d.Info(); err != nil || !info.ModTime().Equal(testTime) {
			t.Errorf("%s is of %v, want %v", rel, info.ModTime().UTC(), testTime)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found != len(list) {
		t.Errorf("%d entries found, %d were put in", found, len(list))
	}
	shown := oracle.Must(t, "mdir", "-i", path, "::")
	for _, want := range []string{"Volume in drive : is SKERRY-BOOT", "Volume Serial Number is 1234-ABCD", "skerry.yaml"} {
		if !strings.Contains(shown, want) {
			t.Errorf("mdir does not show %q:\n%s", want, shown)
		}
	}
}

func TestReaderIsAnFS(t *testing.T) {
	contents := sample()
	// TestFS reads byte by byte: a large file would take minutes.
	contents["EFI/Linux/skerry-2025.3.1+abc.efi"] = long(5000)
	contents["EFI/BOOT/BOOTX64.EFI"] = long(4097)
	list := files(contents)
	v, _ := open(t, image(t, 64, list))
	var paths []string
	for _, f := range list {
		paths = append(paths, f.Path)
		info, err := fs.Stat(v, f.Path)
		if err != nil || info.IsDir() != f.Dir || !info.ModTime().Equal(testTime) {
			t.Errorf("%s: %v %v", f.Path, info, err)
		}
		if f.Dir {
			continue
		}
		want := contents[f.Path]
		if got, err := v.ReadFile(f.Path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, want %d: %v", f.Path, len(got), len(want), err)
		}
	}
	if err := fstest.TestFS(v, paths...); err != nil {
		t.Error(err)
	}
	if v.Label() != "SKERRY-BOOT" || v.VolumeID() != 0x1234abcd {
		t.Errorf("label %q, serial number %x", v.Label(), v.VolumeID())
	}
	if b, err := v.ReadFile("efi/boot/bootx64.efi"); err != nil || len(b) != 4097 {
		t.Errorf("in lower case: %d bytes, %v", len(b), err)
	}
	if _, err := v.ReadFile("skerry.yaml/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: %v", err)
	}
}

func TestFilesCanBeReadAtAnyPlace(t *testing.T) {
	const name = "EFI/Linux/skerry-2025.3.1+abc.efi"
	v, _ := open(t, image(t, 64, files(sample())))
	whole, err := v.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]int{{0, 1}, {511, 2}, {512, 512}, {1000, 100_000}, {len(whole) - 1, 1}} {
		b := make([]byte, c[1])
		if _, err := f.(io.ReaderAt).ReadAt(b, int64(c[0])); err != nil || !bytes.Equal(b, whole[c[0]:c[0]+c[1]]) {
			t.Errorf("%d bytes at %d: %v", c[1], c[0], err)
		}
	}
	if n, err := f.(io.ReaderAt).ReadAt(make([]byte, 2), int64(len(whole)-1)); n != 1 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
}

func TestLinuxToolsFileSystemIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fat")
	oracle.Must(t, "mkfs.fat", "-C", "-F", "32", "-n", "OTHER", "-i", "cafe0001", path, "70000")
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, bytes.Repeat([]byte("abc"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Must(t, "mmd", "-i", path, "::Käse")
	for n := range 30 {
		oracle.Must(t, "mcopy", "-i", path, src, fmt.Sprintf("::Käse/%s%d.text", strings.Repeat("long", n), n))
	}
	oracle.Must(t, "mdel", "-i", path, "::Käse/longlong2.text")
	oracle.Must(t, "mcopy", "-i", path, src, "::Käse/nt.txt") // lower case flags instead of a long name
	v, _ := open(t, path)
	entries, err := v.ReadDir("Käse")
	if err != nil || len(entries) != 30 {
		t.Fatalf("%d entries: %v", len(entries), err)
	}
	for _, e := range entries {
		if b, err := v.ReadFile("Käse/" + e.Name()); err != nil || len(b) != 30_000 {
			t.Errorf("%s: %d bytes, %v", e.Name(), len(b), err)
		}
	}
	if _, err := v.Stat("Käse/nt.txt"); err != nil {
		t.Error(err)
	}
	if v.Label() != "OTHER" || v.VolumeID() != 0xcafe0001 {
		t.Errorf("label %q, serial number %x", v.Label(), v.VolumeID())
	}
}

func TestFileSystemIsMadeWhereItsPartitionIs(t *testing.T) {
	const offset, size = 1 << 20, 34 << 20
	m := make(memory, offset+size)
	if err := Make(context.Background(), m, offset, size, files(map[string][]byte{"a/b": []byte("c")}), testOptions); err != nil {
		t.Fatal(err)
	}
	if len(bytes.Trim(m[:offset], "\x00")) > 0 {
		t.Error("something was written before the partition")
	}
	if hidden := binary.LittleEndian.Uint32(m[offset+28:]); hidden != offset/512 {
		t.Errorf("the boot sector says that %d sectors are before it", hidden)
	}
	v, err := Open(m[offset:], size)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := v.ReadFile("a/b"); err != nil || string(b) != "c" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAFullFileSystemIsFullAndNoMore(t *testing.T) {
	v, err := layOut(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	room := (v.Free() - 1) * v.clusterBytes // one for the root directory
	path := image(t, 64, files(map[string][]byte{"big": make([]byte, room)}))
	fsck(t, path)
	v, file := open(t, path)
	if v.Free() != 0 {
		t.Errorf("%d clusters are free", v.Free())
	}
	if err := v.Replace(file, "more", []byte("x"), testTime); err == nil || !strings.Contains(err.Error(), "0 are free") {
		t.Errorf("one more file: %v", err)
	}
	if err := v.Replace(file, "none", nil, testTime); err != nil {
		t.Errorf("one more file without contents: %v", err)
	}
	fsck(t, path)

	big := files(map[string][]byte{"big": make([]byte, room+1)})
	err = Make(context.Background(), make(memory, 64<<20), 0, 64<<20, big, testOptions)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "big does not fit any more in 62 MiB") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestMakeRefuses(t *testing.T) {
	gone := File{Path: "a", Open: func() (io.ReadCloser, error) { return os.Open("/nonexistent/a") }}
	longer := files(map[string][]byte{"a": []byte("12")})
	longer[0].Size = 1
	grown := files(map[string][]byte{"b": []byte("1")})
	grown[0].Size = 0
	shorter := files(map[string][]byte{"a": []byte("12")})
	shorter[0].Size = 3
	one := func(name string) []File { return []File{{Path: name}} }
	for want, c := range map[string]struct {
		size  int64
		files []File
		label string
	}{
		"are too few: firmware":               {32 << 20, nil, "BOOT"},
		`label "boot"`:                        {64 << 20, nil, "boot"},
		`label ""`:                            {64 << 20, nil, ""},
		"1 to 11 characters":                  {64 << 20, nil, "SKERRY-BOOTS"},
		"add a: open /nonexistent/a":          {64 << 20, []File{gone}, "BOOT"},
		"add a: its size changed":             {64 << 20, longer, "BOOT"},
		"add b: its size changed":             {64 << 20, grown, "BOOT"},
		"size changed while it was read":      {64 << 20, shorter, "BOOT"},
		`has a character ':'`:                 {64 << 20, one("a:b"), "BOOT"},
		`has a character 'Ã'`:                 {64 << 20, one("Käse"), "BOOT"},
		"no period and no space":              {64 << 20, one("a."), "BOOT"},
		"1 to 255 characters":                 {64 << 20, one(string(long(256))), "BOOT"},
		`add "": invalid argument`:            {64 << 20, one(""), "BOOT"},
		`add ".": invalid argument`:           {64 << 20, one("."), "BOOT"},
		`add "../a": invalid argument`:        {64 << 20, one("../a"), "BOOT"},
		`add "/a": invalid argument`:          {64 << 20, one("/a"), "BOOT"},
		"directory a does not come before it": {64 << 20, []File{{Path: "a/b"}, {Path: "a", Dir: true}}, "BOOT"},
		"directory b does not come before it": {64 << 20, []File{{Path: "b"}, {Path: "b/c"}}, "BOOT"},
		"twice but for upper and lower case":  {64 << 20, []File{{Path: "Ab"}, {Path: "aB"}}, "BOOT"},
		"a has 4294967296 bytes: FAT32 holds": {64 << 20, []File{{Path: "a", Size: 1 << 32}}, "BOOT"},
		"a has -1 bytes":                      {64 << 20, []File{{Path: "a", Size: -1}}, "BOOT"},
		"a does not fit any more in 62 MiB":   {64 << 20, []File{{Path: "a", Size: 1<<32 - 1}}, "BOOT"},
	} {
		err := Make(context.Background(), make(memory, c.size), 0, c.size, c.files, Options{Label: c.label, Time: testTime})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Make(ctx, make(memory, 64<<20), 0, 64<<20, nil, testOptions); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTimesOutsideOfFATBecomeTheNearest(t *testing.T) {
	for in, want := range map[time.Time]string{
		time.Unix(0, 0): "1980-01-01 00:00:00",
		time.Date(2025, 1, 2, 3, 4, 5, 9, time.FixedZone("", 3600)): "2025-01-02 02:04:04",
		time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC):                 "2107-12-31 23:59:58",
	} {
		if got := fromDOS(toDOS(in)).Format(time.DateTime); got != want {
			t.Errorf("%v became %s, want %s", in, got, want)
		}
	}
}

// counter counts what is read.
type counter struct {
	io.ReaderAt
	bytes int64
}

func (c *counter) ReadAt(b []byte, at int64) (int, error) {
	c.bytes += int64(len(b))
	return c.ReaderAt.ReadAt(b, at)
}

func TestOpenReadsTheTableAndCheckTheDirectoriesOnly(t *testing.T) {
	const mib = 264 // as boards have it
	_, file := open(t, image(t, mib, files(sample())))
	c := &counter{ReaderAt: file}
	v, err := Open(c, mib<<20)
	if err != nil {
		t.Fatal(err)
	}
	count, size := v.Clusters()
	want := 512 + 4*(count+2)
	if c.bytes != want {
		t.Errorf("%d bytes were read, %d are needed", c.bytes, want)
	}
	const directories = 11 // clusters: of ten directories, the largest has two
	if err := v.Check(); err != nil || c.bytes != want+directories*size {
		t.Errorf("%d bytes were read to check directories of %d, %v", c.bytes-want, directories*size, err)
	}
}

// directoriesAt makes a file system in memory with directories a and b and
// returns their first clusters.
func directoriesAt(t *testing.T) (m memory, v *FS, a, b uint32) {
	t.Helper()
	m = small(t, files(map[string][]byte{"a/": nil, "b/": nil}))
	v, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	for name, cluster := range map[string]*uint32{"a": &a, "b": &b} {
		e, err := v.find("find", name)
		if err != nil {
			t.Fatal(err)
		}
		*cluster = e.cluster
	}
	return m, v, a, b
}

func TestDirectoriesThatShareClustersAreFound(t *testing.T) {
	for want, change := range map[string]func(v *FS, a, b uint32){
		"goes on at cluster 4, which is part of another one":  func(v *FS, a, b uint32) { v.table.link([]uint32{a, b}) },
		"goes on at cluster 3, which is part of another one":  func(v *FS, a, b uint32) { v.table.link([]uint32{b, a}) },
		"goes on at cluster 2, which is part of another one":  func(v *FS, a, b uint32) { v.table.link([]uint32{b, v.root}) },
		"goes on at cluster 50, which is part of another one": func(v *FS, a, b uint32) { v.table.link([]uint32{a, 50}); v.table.link([]uint32{b, 50}) },
		"is longer than": func(v *FS, a, _ uint32) { v.table.set(a, a) },
	} {
		m, v, a, b := directoriesAt(t)
		change(v, a, b)
		if err := v.writeTable(m, v.table); err != nil {
			t.Fatal(err)
		}
		if err := check(t, m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestDirectoryLoopsAreFound(t *testing.T) {
	m := small(t, files(map[string][]byte{"a/b/c": nil}))
	v, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := v.find("find", "a")
	b, _ := v.find("find", "a/b")
	m[b.at+26] = byte(a.cluster)
	if err := check(t, m); err == nil || !strings.Contains(err.Error(), "as another one does") {
		t.Errorf("error is %v", err)
	}
}

// check opens a file system, which has to work, and checks it.
func check(t *testing.T, m memory) error {
	t.Helper()
	v, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	return v.Check()
}

func TestDamageElsewhereDoesNotConcernAFile(t *testing.T) {
	m := small(t, files(map[string][]byte{"damaged/": nil, "skerry.yaml": []byte("a: b\n")}))
	v, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := v.find("find", "damaged")
	if err != nil {
		t.Fatal(err)
	}
	copy(m[damaged.at+26:], "\x00\x00") // no cluster
	if err := check(t, m); err == nil {
		t.Error("the damage is not found")
	}
	if got, err := v.ReadFile("skerry.yaml"); err != nil || string(got) != "a: b\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A system that knows no long names removes the short one and takes its entry
// for another file. The parts of the long name stay before it.
func TestALongNameBelongsToNoOtherFile(t *testing.T) {
	m := small(t, files(map[string][]byte{"skerry.yaml": []byte("a: b\n")}))
	v, err := Open(m, int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.find("find", "skerry.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(){
		func() { copy(m[e.at:], "NEWFILE TXT") },
		func() { m[e.at-slotBytes] ^= 0x03 }, // the number of the part
	} {
		before := bytes.Clone(m)
		spoil()
		if _, err := v.ReadFile("skerry.yaml"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the long name still leads to a file: %v", err)
		}
		copy(m, before)
	}
	copy(m[e.at:], "NEWFILE TXT")
	if got, err := v.ReadFile("newfile.txt"); err != nil || string(got) != "a: b\n" {
		t.Errorf("by its short name: %q, %v", got, err)
	}
}

func FuzzOpen(f *testing.F) {
	good := small(f, files(map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": make([]byte, 2000), "skerry.yaml": []byte("a: b\n"), "a long name of a file": make([]byte, 513),
	}))
	v, err := Open(good, int64(len(good)))
	if err != nil {
		f.Fatal(err)
	}
	efi, err := v.find("find", "EFI")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	for _, at := range []int64{13, 16, 32, 36, 44, 48, 50, v.fatOffset + 8, v.fatOffset + 12, efi.at + 11, efi.at + 26} {
		for _, change := range []byte{1, 3, 0x80} {
			b := bytes.Clone(good)
			b[at] ^= change
			f.Add(b)
		}
	}
	for _, at := range []int64{44, v.fatOffset + 8} { // directories without clusters, or without an end
		b := bytes.Clone(good)
		copy(b[at:], "\xff\xff\xff\x0f")
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := memory(bytes.Clone(b))
		v, err := Open(m, int64(len(m)))
		if err != nil {
			return
		}
		for _, name := range []string{"skerry.yaml", "EFI/BOOT/BOOTX64.EFI"} { // as the agent does, without a check
			if c, err := v.ReadFile(name); err == nil && len(c) > len(b) {
				t.Errorf("%s has %d bytes in a file system of %d", name, len(c), len(b))
			}
		}
		if v.Check() != nil {
			return
		}
		_ = fs.WalkDir(v, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if c, err := v.ReadFile(p); err == nil && len(c) > len(b) {
				t.Errorf("%s has %d bytes in a file system of %d", path.Base(p), len(c), len(b))
			}
			return nil
		})
		// memory refuses writes to outside of it, which must not be tried.
		for _, name := range []string{"skerry.yaml", "EFI/BOOT/new with a long name.efi"} {
			if err := v.Replace(m, name, make([]byte, 700), testTime); errors.Is(err, errOutside) {
				t.Errorf("replace %s: %v", name, err)
			}
		}
	})
}
