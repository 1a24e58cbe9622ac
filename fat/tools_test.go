package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/oracle"
)

var (
	testTime    = time.Date(2025, 3, 1, 12, 30, 42, 0, time.UTC)
	testOptions = Options{Label: "SKERRY-BOOT", VolumeID: 0x1234abcd, Time: testTime}
)

func fsck(t testing.TB, image string) {
	t.Helper()
	oracle.Must(t, "fsck.fat", "-n", image)
}

// files returns what Make takes for the given contents, with the directories
// that they are in. A path that ends in a slash is a directory.
func files(contents map[string][]byte) []File {
	all := map[string]File{}
	for p, b := range contents {
		all[path.Clean(p)] = File{
			Path: path.Clean(p), Dir: strings.HasSuffix(p, "/"), Size: int64(len(b)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
		}
		for dir := path.Dir(path.Clean(p)); dir != "."; dir = path.Dir(dir) {
			all[dir] = File{Path: dir, Dir: true}
		}
	}
	var list []File
	for _, p := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[p])
	}
	return list
}

// sample is a boot partition as an image has it, and some less friendly names.
func sample() map[string][]byte {
	contents := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":                   bytes.Repeat([]byte("boot"), 30_000),
		"EFI/Linux/skerry-2025.3.1+abc.efi":      bytes.Repeat([]byte("kernel!"), 1_000_001),
		"loader/loader.conf":                     []byte("timeout 0\n"),
		"skerry.yaml":                            []byte("hostname: a\n"),
		"empty":                                  nil,
		"nothing/":                               nil,
		"a.yaml":                                 []byte("short names of this"),
		"a.yams":                                 []byte("and this are alike"),
		"foobar":                                 []byte("1"),
		"foo bar":                                []byte("2"),
		".hidden":                                []byte("3"),
		"exactly-26-characters-long":             []byte("4"),
		"exactly-13.ch":                          []byte("5"),
		"UPPER.TXT":                              []byte("6"),
		"two.dots.tar.gz":                        []byte("7"),
		"plus+comma,semicolon;equals=[brackets]": []byte("8"),
		"deep/deeper/deepest/" + string(long(200)):  []byte("9"),
		"deep/deeper/deepest/" + string(long(255)):  []byte("10"),
		"deep/deeper/deepest/x" + string(long(198)): []byte("11"),
	}
	for n := range 60 {
		contents[fmt.Sprintf("many/file with a long name %d.config", n)] = []byte{byte(n)}
	}
	return contents
}

func long(n int) []byte { return bytes.Repeat([]byte("n"), n) }

// image makes a file system in a file.
func image(t testing.TB, mib int64, list []File) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "boot.fat"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	if err := Make(context.Background(), file, 0, mib<<20, list, testOptions); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// open opens the file system in a file, which can be written to.
func open(t testing.TB, image string) (*FS, *os.File) {
	t.Helper()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v, file
}

// memory is a file system in memory.
type memory []byte

var errOutside = errors.New("outside of the file system")

func (m memory) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(b, at) }

func (m memory) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, fmt.Errorf("%d bytes at %d of %d: %w", len(b), at, len(m), errOutside)
	}
	return copy(m[at:], b), nil
}

// small makes a file system of 60 clusters, so that most of it is structure.
func small(t testing.TB, list []File) memory {
	t.Helper()
	const clusters, reserved = 60, 8
	v := &FS{
		sectorBytes: 512, clusterBytes: 512, fatOffset: reserved * 512, fatBytes: 512, fatCount: 2,
		dataOffset: (reserved + 2) * 512, fsInfo: 512, backup: 6 * 512, root: 2, table: newTable(clusters),
	}
	m := make(memory, v.offset(clusters+2))
	if err := v.fill(context.Background(), m, 0, int64(len(m)), list, testOptions); err != nil {
		t.Fatal(err)
	}
	return m
}
