package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/skerry-os/skerry/release"
)

func mapOf(t testing.TB, name string) *Map {
	t.Helper()
	i, err := Open(name, nil)
	must(t, err)
	defer i.Close()
	m, err := Read(context.Background(), i, MapOptions{Digests: true, Blocks: true})
	must(t, err)
	return m
}

func TestMapIsTheSameHoweverTheImageIsPacked(t *testing.T) {
	image := sample(t)
	contents, err := os.ReadFile(image)
	must(t, err)
	full := filepath.Join(t.TempDir(), "full.img") // the same without holes
	must(t, os.WriteFile(full, contents, 0o600))
	forms := packed(t, image)
	forms["full"] = full
	want := mapOf(t, image)
	for form, name := range forms {
		m := mapOf(t, name)
		if !slices.Equal(m.Ranges, want.Ranges) || !slices.Equal(m.Blocks, want.Blocks) || m.Size != want.Size || m.SHA256 != sha256.Sum256(contents) {
			t.Errorf("%s: %+v\nwant %+v", form, m, want)
		}
		b, err := os.ReadFile(name)
		must(t, err)
		if m.PackedSHA256 != sha256.Sum256(b) || m.PackedSize != int64(len(b)) {
			t.Errorf("%s: digest of the file %s, %d bytes", form, m.PackedSHA256, m.PackedSize)
		}
	}
	rest := bytes.Clone(contents)
	for _, r := range want.Ranges {
		if r.SHA256 != sha256.Sum256(contents[r.Offset:r.end()]) {
			t.Errorf("digest of %d bytes at %d", r.Size, r.Offset)
		}
		copy(rest[r.Offset:r.end()], make([]byte, r.Size))
	}
	if !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("there is data outside of the map")
	}
}

func TestLongDataIsSplitIntoRanges(t *testing.T) {
	b := bytes.Repeat([]byte{1}, rangeBytes+rangeBytes/2)
	b[510], b[511] = 0x55, 0xaa
	i, err := Open("-", bytes.NewReader(b))
	must(t, err)
	m, err := Read(context.Background(), i, MapOptions{})
	must(t, err)
	if len(m.Ranges) != 2 || m.Ranges[0].Size != rangeBytes || m.Ranges[1].Offset != rangeBytes || m.Bytes() != int64(len(b)) {
		t.Errorf("got %+v", m.Ranges)
	}
}

func TestBmaptoolAcceptsTheMapAndCopiesTheImage(t *testing.T) {
	image := sample(t)
	dir := t.TempDir()
	write := func() string {
		var b bytes.Buffer
		must(t, mapOf(t, image).WriteBmap(&b))
		name := filepath.Join(dir, "bmap")
		must(t, os.WriteFile(name, b.Bytes(), 0o600))
		return name
	}
	copied := filepath.Join(dir, "copy")
	tool(t, "bmaptool", "copy", "--bmap", write(), image, copied)
	want, err := os.ReadFile(image)
	must(t, err)
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs: %v", err)
	}
}

func TestImagerEntryHasWhatItsSchemaRequires(t *testing.T) {
	m := &Map{Size: 4096, SHA256: release.Digest{1}, PackedSHA256: release.Digest{2}, PackedSize: 100}
	var b bytes.Buffer
	must(t, WriteImagerList(&b, m.Imager("1.2.0", "rpi4", "https://example.com/a.img.zst", time.Unix(1_700_000_000, 0))))
	var list struct {
		List []map[string]any `json:"os_list"`
	}
	must(t, json.Unmarshal(b.Bytes(), &list))
	if len(list.List) != 1 {
		t.Fatalf("got %s", b.String())
	}
	for key, want := range map[string]string{
		"name": "Skerry 1.2.0", "url": "https://example.com/a.img.zst", "release_date": "2023-11-14", "extract_size": "4096",
		"extract_sha256": release.Digest{1}.String(), "image_download_size": "100", "image_download_sha256": release.Digest{2}.String(),
		"devices": "[pi4-64bit]", "architecture": "armv8",
	} {
		if got := fmt.Sprint(list.List[0][key]); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"description", "icon"} {
		if list.List[0][key] == "" {
			t.Errorf("no %s", key)
		}
	}
	if !ImagerBoard("rpi4") || ImagerBoard("x86_64") || ImagerBoard("") {
		t.Error("which boards are Raspberry Pis?")
	}
}

func FuzzImage(f *testing.F) {
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc"))
	f.Add(bytes.Repeat([]byte{0x55, 0xaa}, 600))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, []byte("\xfd7zXZ")) {
			return // starts a program
		}
		i, err := Open("-", bytes.NewReader(b))
		if err != nil {
			return
		}
		size, err := i.chunks(context.Background(), 64*mib, func(c chunk) ([]byte, error) { return c.data[:cap(c.data)], nil })
		if err == nil && size > 64*mib {
			t.Errorf("%d bytes", size)
		}
	})
}
