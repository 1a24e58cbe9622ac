package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/tests/oracle"
)

// mtools returns how mtools name partition boot of an image.
func mtools(image string) string { return image + "@@1M" }

func TestMtoolsReadTheTreeOnPartitionBoot(t *testing.T) {
	tr := sample(t)
	path := image(t, 64, tr)
	fsck(t, path)
	i, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	v, err := i.Boot()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range tr.Paths() {
		f, _ := tr.Get(p)
		info, err := v.Stat(p)
		if err != nil || info.IsDir() != f.Mode.IsDir() || !info.ModTime().Equal(testTime) {
			t.Errorf("%s: %v %v", p, info, err)
		}
		if f.Mode.IsDir() {
			continue
		}
		want, _ := f.Read()
		if out := oracle.Must(t, "mtype", "-i", mtools(path), "::"+p); out != string(want) {
			t.Errorf("mtype shows %d bytes of %s, want %d", len(out), p, len(want))
		}
	}
	if list := oracle.Must(t, "mdir", "-i", mtools(path), "::"); !strings.Contains(list, "is SKERRY-BOOT") {
		t.Errorf("mdir does not show the label:\n%s", list)
	}
}

func TestMakeBootRefuses(t *testing.T) {
	link := tree.New()
	if err := link.AddSymlink("a", "b"); err != nil {
		t.Fatal(err)
	}
	gone := tree.New()
	if err := gone.AddSource("a", 0o644, "/nonexistent/a"); err != nil {
		t.Fatal(err)
	}
	const prefix = "make FAT32 file system SKERRY-BOOT: "
	for want, tr := range map[string]*tree.Tree{
		prefix + "add a: FAT holds only files and directories": link,
		prefix + "stat /nonexistent/a: no such file":           gone,
		prefix + "big does not fit any more in 62 MiB: make the boot partition larger in the board file": fill(t,
			map[string][]byte{"big": make([]byte, 64<<20)}),
	} {
		i, err := Create(filepath.Join(t.TempDir(), "disk"), layout(64))
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		if err := i.MakeBoot(context.Background(), tr, testOptions); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestWriteBootFileChangesPartitionBootOnly(t *testing.T) {
	path := image(t, 64, sample(t))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("larger "), 10_000)
	later := testTime.Add(time.Hour)
	for _, name := range []string{"skerry.yaml", "nothing/a new file.yaml"} {
		if err := WriteBootFile(path, name, want, later); err != nil {
			t.Fatal(err)
		}
		if out := oracle.Must(t, "mtype", "-i", mtools(path), "::"+name); out != string(want) {
			t.Errorf("mtype shows %d bytes of %s, want %d", len(out), name, len(want))
		}
		fsck(t, path)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const start, end = 1 << 20, 65 << 20 // of partition boot
	if !bytes.Equal(before[:start], after[:start]) || !bytes.Equal(before[end:], after[end:]) {
		t.Error("something outside of partition boot was changed")
	}
}

func TestWriteBootFileTellsWhichImage(t *testing.T) {
	path := image(t, 64, sample(t))
	want := "write loader to partition boot of " + path + ": a directory of that name is there"
	if err := WriteBootFile(path, "loader", nil, testTime); err == nil || err.Error() != want {
		t.Errorf("error is %v, want %q", err, want)
	}
	if err := WriteBootFile(filepath.Join(t.TempDir(), "x"), "a", nil, testTime); err == nil {
		t.Error("no image, no error")
	}
}
