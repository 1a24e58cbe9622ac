package imageseed

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/skerry-os/skerry/tests/oracle"
)

// folder makes a folder with everything that a layer can have.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	long := strings.Repeat("long/", 40) + strings.Repeat("x", 120)
	for name, contents := range map[string]string{
		"empty": "", "a": "a", "block": strings.Repeat("b", 512), "more": strings.Repeat("c", 513),
		"etc/passwd": "root:x:0:0\n", "etc-x": "sorted before what is in etc", long: "a name that needs another header", "naïve": "x",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func layerOf(t *testing.T, dir string) *Layer {
	t.Helper()
	entries, err := ScanDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLayer(entries)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wholeOf(t *testing.T, l *Layer) []byte {
	t.Helper()
	contents, err := io.ReadAll(io.NewSectionReader(l, 0, l.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

func TestALayerIsWhatOneWriterMakesOfTheSameFiles(t *testing.T) {
	dir := folder(t)
	var names []string
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(name, dir+"/"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var want bytes.Buffer
	w := tar.NewWriter(&want)
	for _, name := range names {
		if name == dir {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		target, _ := os.Readlink(filepath.Join(dir, name))
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			t.Fatal(err)
		}
		h.Name = name
		if info.IsDir() {
			h.Name += "/"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		contents, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(contents); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l := layerOf(t, dir)
	if err := iotest.TestReader(io.NewSectionReader(l, 0, l.Size()), want.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestTarUnpacksALayerToTheSameFiles(t *testing.T) {
	l := layerOf(t, folder(t))
	archive := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(archive, wholeOf(t, l), 0o644); err != nil {
		t.Fatal(err)
	}
	listing := oracle.Must(t, "tar", "--numeric-owner", "--full-time", "-tvf", archive)
	for line := range strings.Lines(listing) {
		if !strings.Contains(line, " 0/0 ") || !strings.Contains(line, "1970-01-01 00:00:00") {
			t.Errorf("tar says %s", line)
		}
	}
	dir := t.TempDir()
	oracle.Must(t, "tar", "-C", dir, "-xf", archive)
	if again := layerOf(t, dir); !bytes.Equal(wholeOf(t, again), wholeOf(t, l)) {
		t.Error("the unpacked files make another layer")
	}
}

func TestAnyPieceOfALayerCanBeRead(t *testing.T) {
	l := layerOf(t, folder(t))
	whole := wholeOf(t, l)
	for _, length := range []int{1, 7, 511, 512, 513, 3000} {
		for off := 0; off < len(whole); off += 101 {
			p := bytes.Repeat([]byte{0xff}, length)
			n, err := l.ReadAt(p, int64(off))
			want := whole[off:min(len(whole), off+length)]
			if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < length) || err != nil && err != io.EOF {
				t.Fatalf("%d bytes at %d: %d, %v", length, off, n, err)
			}
		}
	}
	if _, err := l.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset")
	}
}

func TestAFileThatBecameShorterIsAnError(t *testing.T) {
	dir := folder(t)
	l := layerOf(t, dir)
	if err := os.Truncate(filepath.Join(dir, "more"), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Digest(); err == nil || !strings.Contains(err.Error(), "more") {
		t.Errorf("got %v", err)
	}
}

func TestWhatALayerCannotHave(t *testing.T) {
	for _, e := range []Entry{
		{Path: "/a"}, {Path: "../a"}, {Path: "."}, {Path: "a/"}, {Path: ""},
		{Path: "a", Mode: fs.ModeSymlink}, {Path: "a", Mode: fs.ModeSetuid | 0o755}, {Path: "a", Mode: fs.ModeDevice},
		{Path: "a", Mode: fs.ModeNamedPipe}, {Path: "a", Size: -1}, {Path: "a", Size: 1 << 50}, {Path: "a\x00b", Size: 1},
		{Path: "a", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
	} {
		if _, err := NewLayer([]Entry{e}); err == nil {
			t.Errorf("%+v was accepted", e)
		}
	}
	if _, err := NewLayer([]Entry{{Path: "a"}, {Path: "a"}}); err == nil {
		t.Error("the same path was accepted twice")
	}
}
