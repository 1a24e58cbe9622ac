package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/oracle"
)

// replace puts a file into the file system in a file.
func replace(t *testing.T, image, name string, contents []byte, modified time.Time) error {
	t.Helper()
	v, file := open(t, image)
	defer file.Close()
	return v.Replace(file, name, contents, modified)
}

func read(t *testing.T, image, name string) ([]byte, fs.FileInfo) {
	t.Helper()
	v, file := open(t, image)
	defer file.Close()
	b, err := v.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := v.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return b, info
}

func free(t *testing.T, image string) int64 {
	t.Helper()
	v, file := open(t, image)
	defer file.Close()
	return v.Free()
}

func TestFilesAreReplacedAndAdded(t *testing.T) {
	path := image(t, 64, files(sample()))
	later := testTime.Add(time.Hour)
	before := free(t, path)
	for _, c := range []struct {
		name     string
		contents []byte
	}{
		{"skerry.yaml", bytes.Repeat([]byte("larger "), 10_000)},
		{"skerry.yaml", []byte("smaller")},
		{"SKERRY.YAML", []byte("the same file in upper case")},
		{"skerry.yaml", nil},
		{"skerry.yaml", []byte("again")},
		{"empty", []byte("no more")},
		{"a new file with a long name.yaml", make([]byte, 512)},
		{"NEW.TXT", make([]byte, 513)},
		{"loader/entries.srel", []byte("type1\n")},
		{"EFI/Linux/another.efi", bytes.Repeat([]byte("k"), 1<<20)},
		{"nothing/x", []byte("y")},
	} {
		if err := replace(t, path, c.name, c.contents, later); err != nil {
			t.Fatal(err)
		}
		got, info := read(t, path, c.name)
		if !bytes.Equal(got, c.contents) || !info.ModTime().Equal(later) {
			t.Errorf("%s has %d bytes of %v, want %d", c.name, len(got), info.ModTime(), len(c.contents))
		}
		if out := oracle.Must(t, "mtype", "-i", path, "::"+c.name); out != string(c.contents) {
			t.Errorf("mtype shows %d bytes of %s, want %d", len(out), c.name, len(c.contents))
		}
		fsck(t, path)
	}
	if _, info := read(t, path, "loader/loader.conf"); !info.ModTime().Equal(testTime) {
		t.Errorf("another file is now of %v", info.ModTime())
	}
	// One each for "empty", "NEW.TXT" (two), "entries.srel", "x" and the long
	// name; the kernel's 2048. skerry.yaml has as many as before.
	if used := before - free(t, path); used != 1+1+2+1+2048+1 {
		t.Errorf("%d more clusters are used", used)
	}
}

func TestDirectoriesGrowAndReuseGaps(t *testing.T) {
	path := image(t, 64, files(sample()))
	for n := range 40 {
		name := fmt.Sprintf("loader/entry number %d.conf", n)
		if err := replace(t, path, name, []byte(name), testTime); err != nil {
			t.Fatal(err)
		}
	}
	fsck(t, path)
	used := free(t, path)
	oracle.Must(t, "mdel", "-i", path, "::loader/entry number 7.conf", "::loader/entry number 8.conf")
	for n := 7; n < 9; n++ {
		name := fmt.Sprintf("loader/entry NUMBER %d.conf", n)
		if err := replace(t, path, name, []byte(name), testTime); err != nil {
			t.Fatal(err)
		}
	}
	fsck(t, path)
	if free(t, path) != used {
		t.Error("the gap in the directory was not used")
	}
	list := oracle.Must(t, "mdir", "-b", "-i", path, "::loader")
	if n := strings.Count(list, ".conf"); n != 41 {
		t.Errorf("%d files:\n%s", n, list)
	}
	for n := range 40 {
		name := fmt.Sprintf("loader/entry number %d.conf", n)
		if got, _ := read(t, path, name); !strings.EqualFold(string(got), name) {
			t.Errorf("file %d has %q", n, got)
		}
	}
}

func TestReplaceRefuses(t *testing.T) {
	path := image(t, 64, files(sample()))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"loader":            "a directory of that name",
		"no/such/file":      "file does not exist",
		"skerry.yaml/x":     "not a directory",
		"../x":              "invalid argument",
		"/x":                "invalid argument",
		".":                 "invalid argument",
		"a:b":               "has a character",
		string(long(256)):   "1 to 255",
		"many/" + "b" + ".": "no period",
	} {
		if err := replace(t, path, name, []byte("x"), testTime); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: error is %v, want one with %q", name, err, want)
		}
	}
	if err := replace(t, path, "big", make([]byte, 64<<20), testTime); err == nil || !strings.Contains(err.Error(), "are free") {
		t.Errorf("too large: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file system was changed: %v", err)
	}
}

func TestShortNamesAreThoseOfTheSpecification(t *testing.T) {
	taken := map[[11]byte]bool{}
	for _, c := range []struct {
		name, want string
		long       bool
	}{
		{"BOOTX64.EFI", "BOOTX64 EFI", false},
		{"loader", "LOADER     ", true},
		{"skerry.yaml", "SKERRY~1YAM", true},
		{"skerry.yams", "SKERRY~2YAM", true},
		{"skerry-2025.3.1.efi", "SKERRY~1EFI", true},
		{"foobar", "FOOBAR     ", true},
		{"foo bar", "FOOBAR~1   ", true},
		{".hidden", "HIDDEN~1   ", true},
		{"a+b.c", "A_B~1   C  ", true},
		{"...", "~1         ", true},
		{"LOADER", "LOADER~1   ", true},
	} {
		short, long := shortName(c.name, taken)
		if string(short[:]) != c.want || long != c.long {
			t.Errorf("%s is %q, %v; want %q, %v", c.name, short, long, c.want, c.long)
		}
		taken[short] = true
	}
}

func TestManyAlikeNamesHaveDifferentShortNames(t *testing.T) {
	taken := map[[11]byte]bool{}
	for n := range 1200 {
		short, _ := shortName(fmt.Sprintf("configuration %d.yaml", n), taken)
		if taken[short] {
			t.Fatalf("%q is given twice", short)
		}
		taken[short] = true
	}
}

// recorder records writes to a file system.
type recorder struct {
	memory
	states []memory // before the first write and after each
}

func (r *recorder) WriteAt(b []byte, at int64) (int, error) {
	n, err := r.memory.WriteAt(b, at)
	r.states = append(r.states, bytes.Clone(r.memory))
	return n, err
}

func TestAWriteThatEndsEarlyLeavesTheOldFile(t *testing.T) {
	contents := map[string][]byte{"skerry.yaml": []byte("old"), "loader/loader.conf": []byte("timeout 0\n")}
	for name, old := range map[string]string{
		"skerry.yaml":        "old",
		"loader/loader.conf": "timeout 0\n",
		"loader/a file with a name of several directory entries": "", // grows the directory, too
	} {
		for n := range 12 {
			contents[fmt.Sprintf("loader/more%d.conf", n)] = nil
		}
		m := small(t, files(contents))
		v, err := Open(m, int64(len(m)))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Repeat("new", 400) // three clusters
		r := &recorder{memory: m, states: []memory{bytes.Clone(m)}}
		if err := v.Replace(r, name, []byte(want), testTime); err != nil {
			t.Fatal(err)
		}
		for n, state := range r.states {
			v, err := Open(state, int64(len(state)))
			if err != nil {
				t.Errorf("%s after %d writes: %v", name, n, err)
				continue
			}
			got, err := v.ReadFile(name)
			if isNew := string(got) == want; err != nil && old != "" || !isNew && string(got) != old || !isNew && n == len(r.states)-1 {
				t.Errorf("%s after %d of %d writes: %d bytes, %v", name, n, len(r.states)-1, len(got), err)
			}
			for other, want := range contents {
				if got, err := v.ReadFile(other); other != name && (err != nil || !bytes.Equal(got, want)) {
					t.Errorf("%s after %d writes to %s: %d bytes, %v", other, n, name, len(got), err)
				}
			}
		}
	}
}
