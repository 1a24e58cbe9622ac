package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/skerry-os/skerry/builder/tree"
)

// mtools returns how mtools name partition boot of an image.
func mtools(image string) string { return image + "@@1M" }

func TestFsckFatAcceptsAllSizesAndFirmwareTakesThemForFAT32(t *testing.T) {
	for _, mib := range []int64{64, 65, 100, 127, 128, 129, 255, 256, 260, 261, 264, 512, 1024} {
		path := image(t, mib, sample(t))
		fsck(t, path)
		i, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := i.Boot()
		if err != nil {
			t.Fatal(err)
		}
		if n, size := v.Clusters(); n < MinClusters || (n/2 > MinClusters+1000 && size < 32<<10) {
			t.Errorf("%d MiB: %d clusters of %d bytes", mib, n, size)
		}
		if v.dataOffset%4096 != 0 {
			t.Errorf("%d MiB: data begins at %d, across pages", mib, v.dataOffset)
		}
		i.Close()
	}
}

func TestMtoolsReadTheTree(t *testing.T) {
	tr := sample(t)
	boot := mtools(image(t, 64, tr))
	to := t.TempDir()
	must(t, "mcopy", "-s", "-m", "-i", boot, "::*", to)
	found := 0
	if err := filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == to {
			return err
		}
		found++
		rel, _ := filepath.Rel(to, p)
		f, ok := tr.Get(rel)
		if !ok || f.Mode.IsDir() != d.IsDir() {
			t.Errorf("%s is in the file system and not in the tree", rel)
			return nil
		}
		if d.IsDir() {
			return nil
		}
		want, _ := f.Read()
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
	if found != len(tr.Paths()) {
		t.Errorf("%d entries found, %d in the tree", found, len(tr.Paths()))
	}
	list := must(t, "mdir", "-i", boot, "::")
	for _, want := range []string{"Volume in drive : is SKERRY-BOOT", "Volume Serial Number is 1234-ABCD", "skerry.yaml"} {
		if !strings.Contains(list, want) {
			t.Errorf("mdir does not show %q:\n%s", want, list)
		}
	}
}

func TestReaderIsAnFS(t *testing.T) {
	tr := sample(t)
	// TestFS reads byte by byte: a large file would take minutes.
	if err := tr.AddBytes("EFI/Linux/skerry-2025.3.1+abc.efi", 0o644, long(5000)); err != nil {
		t.Fatal(err)
	}
	if err := tr.AddBytes("EFI/BOOT/BOOTX64.EFI", 0o644, long(4097)); err != nil {
		t.Fatal(err)
	}
	i, err := Open(image(t, 64, tr))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	v, err := i.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(v, tr.Paths()...); err != nil {
		t.Error(err)
	}
	for _, p := range tr.Paths() {
		f, _ := tr.Get(p)
		info, err := fs.Stat(v, p)
		if err != nil || info.IsDir() != f.Mode.IsDir() || !info.ModTime().Equal(testTime) {
			t.Errorf("%s: %v %v", p, info, err)
		}
		if f.Mode.IsDir() {
			continue
		}
		want, _ := f.Read()
		if got, err := v.ReadFile(p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has %d bytes, want %d: %v", p, len(got), len(want), err)
		}
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
	i, err := Open(image(t, 64, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	v, err := i.Boot()
	if err != nil {
		t.Fatal(err)
	}
	const name = "EFI/Linux/skerry-2025.3.1+abc.efi"
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
	must(t, "mkfs.fat", "-C", "-F", "32", "-n", "OTHER", "-i", "cafe0001", path, "70000")
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, bytes.Repeat([]byte("abc"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "mmd", "-i", path, "::Käse")
	for n := range 30 {
		must(t, "mcopy", "-i", path, src, fmt.Sprintf("::Käse/%s%d.text", strings.Repeat("long", n), n))
	}
	must(t, "mdel", "-i", path, "::Käse/longlong2.text")
	must(t, "mcopy", "-i", path, src, "::Käse/nt.txt") // lower case flags instead of a long name
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Stat()
	v, err := OpenFAT(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
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

func TestAFullFileSystemIsFullAndNoMore(t *testing.T) {
	v, err := layOutFAT(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	room := (v.Free() - 1) * v.clusterBytes // one for the root directory
	path := image(t, 64, fill(t, map[string][]byte{"big": make([]byte, room)}))
	fsck(t, path)
	i, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if v, err := i.Boot(); err != nil || v.Free() != 0 {
		t.Errorf("%d clusters are free: %v", v.Free(), err)
	}
	if err := WriteBootFile(path, "more", []byte("x"), testTime); err == nil || !strings.Contains(err.Error(), "0 are free") {
		t.Errorf("one more file: %v", err)
	}
	if err := WriteBootFile(path, "none", nil, testTime); err != nil {
		t.Errorf("one more file without contents: %v", err)
	}
	fsck(t, path)

	j, err := Create(filepath.Join(t.TempDir(), "disk"), layout(64))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	err = j.MakeBoot(context.Background(), fill(t, map[string][]byte{"big": make([]byte, room+1)}), testOptions)
	if err == nil || !strings.Contains(err.Error(), "big does not fit any more in 62 MiB: make the boot partition larger") {
		t.Errorf("one byte more: %v", err)
	}
}

func TestMakeFATRefuses(t *testing.T) {
	link := tree.New()
	if err := link.AddSymlink("a", "b"); err != nil {
		t.Fatal(err)
	}
	gone := tree.New()
	if err := gone.AddSource("a", 0o644, "/nonexistent/a"); err != nil {
		t.Fatal(err)
	}
	one := func(name string) *tree.Tree { return fill(t, map[string][]byte{name: nil}) }
	for want, c := range map[string]struct {
		size  int64
		tree  *tree.Tree
		label string
	}{
		"are too few: firmware":              {32 << 20, tree.New(), "BOOT"},
		`label "boot"`:                       {64 << 20, tree.New(), "boot"},
		`label ""`:                           {64 << 20, tree.New(), ""},
		"1 to 11 characters":                 {64 << 20, tree.New(), "SKERRY-BOOTS"},
		"only files and directories":         {64 << 20, link, "BOOT"},
		"no such file":                       {64 << 20, gone, "BOOT"},
		`has a character ':'`:                {64 << 20, one("a:b"), "BOOT"},
		`has a character 'Ã'`:                {64 << 20, one("Käse"), "BOOT"},
		"no period and no space":             {64 << 20, one("a."), "BOOT"},
		"1 to 255 characters":                {64 << 20, one(string(long(256))), "BOOT"},
		"twice but for upper and lower case": {64 << 20, fill(t, map[string][]byte{"Ab": nil, "aB": nil}), "BOOT"},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "fat"))
		if err != nil {
			t.Fatal(err)
		}
		err = MakeFAT(context.Background(), f, 0, c.size, c.tree, FATOptions{Label: c.label, Time: testTime})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
		f.Close()
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

func TestDirectoryLoopsAreFound(t *testing.T) {
	p := image(t, 64, fill(t, map[string][]byte{"a/b/c": nil}))
	i, err := open(p, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	v, err := i.Boot()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := v.find("find", "a")
	b, _ := v.find("find", "a/b")
	if _, err := i.file.WriteAt([]byte{byte(a.cluster)}, 1<<20+b.at+26); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Boot(); err == nil || !strings.Contains(err.Error(), "as another one does") {
		t.Errorf("error is %v", err)
	}
}

func FuzzOpenFAT(f *testing.F) {
	// A file system of 100 clusters, so that most of it is structure.
	v := &FAT{
		sectorBytes: 512, clusterBytes: 512, fatOffset: 32 * 512, fatBytes: 512, fatCount: 2,
		dataOffset: 34 * 512, fsInfo: 512, backup: 6 * 512, clusters: 100, root: 2, table: make([]uint32, 102),
	}
	const size = 134 * 512
	file, err := os.Create(filepath.Join(f.TempDir(), "fat"))
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		f.Fatal(err)
	}
	tr := fill(f, map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": make([]byte, 2000), "skerry.yaml": []byte("a: b\n"), "a long name of a file": make([]byte, 513),
	})
	if err := v.fill(context.Background(), file, 0, size, tr, testOptions); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(file.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := OpenFAT(bytes.NewReader(b), int64(len(b)))
		if err != nil {
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
	})
}
