package imageseed

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// seedFolder makes a folder with one image and returns it.
func seedFolder(t testing.TB, files string) (dir string, image *Image) {
	t.Helper()
	entries, err := ScanDir(files)
	if err != nil {
		t.Fatal(err)
	}
	image, err = Compose("skerry.dev/test:v1", "amd64", ocispec.ImageConfig{Entrypoint: []string{"/a"}}, entries)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	text, err := (&Index{Images: []Image{*image}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, IndexName), text, 0o644); err != nil {
		t.Fatal(err)
	}
	rootfs := filepath.Join(dir, RootFS(image.Layer.Digest))
	if err := os.MkdirAll(filepath.Dir(rootfs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(rootfs, os.DirFS(files)); err != nil {
		t.Fatal(err)
	}
	return dir, image
}

func TestAnImageComesOutOfTheFolderAsItWasComposed(t *testing.T) {
	dir, image := seedFolder(t, folder(t))
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Images()) != 1 || s.Images()[0] != *image || len(s.Digests()) != 3 {
		t.Fatalf("got %v, %v", s.Images(), s.Digests())
	}
	for _, d := range s.Digests() {
		r, size, err := s.ReaderAt(d)
		if err != nil {
			t.Fatal(err)
		}
		if told, ok := s.Size(d); !ok || told != size {
			t.Errorf("%s: %d bytes, %d when it is read", d, told, size)
		}
		contents := make([]byte, size)
		if n, err := r.ReadAt(contents, 0); int64(n) != size {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if got := d.Algorithm().FromBytes(contents); got != d {
			t.Errorf("%s has the digest %s", d, got)
		}
	}
	if _, _, err := s.ReaderAt("sha256:" + "0"); err == nil {
		t.Error("a digest that is not there was read")
	}
}

func TestFilesOfAnotherSizeThanTheIndexSaysAreRefused(t *testing.T) {
	dir, image := seedFolder(t, folder(t))
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.RootFS(image.Layer.Digest), "more-files"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ReaderAt(image.Layer.Digest); err == nil || !strings.Contains(err.Error(), "in the index") {
		t.Errorf("got %v", err)
	}
}

func TestWrongIndexesAreRefused(t *testing.T) {
	dir, image := seedFolder(t, folder(t))
	good, err := os.ReadFile(filepath.Join(dir, IndexName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseIndex(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(x *Index){
		"of one release":           func(x *Index) { x.Format = 3 },
		"belong here":              func(x *Index) { x.Images[0].Reference = "pause:v1" },
		"invalid reference format": func(x *Index) { x.Images[0].Reference = "skerry.dev/Pause:v1" },
		"a digest does not belong": func(x *Index) { x.Images[0].Reference += "@" + image.Layer.Digest.String() },
		"names another config":     func(x *Index) { x.Images[0].Config += " " },
		"more behind its end":      func(x *Index) { x.Images[0].Config += "{}" },
		"its manifest names other": func(x *Index) { x.Images[0].Layer.Size++ },
		"cannot have 5 bytes":      func(x *Index) { x.Images[0].Layer.Size = 5 },
		"sha256:… belongs here":    func(x *Index) { x.Images[0].Layer.Digest = "sha256:../../etc" },
		"it is there twice":        func(x *Index) { x.Images = append(x.Images, x.Images[0]) },
		"another kind than an OCI": func(x *Index) { x.Images[0].Manifest = strings.Replace(image.Manifest, "manifest.v1", "index.v1", 1) },
		"its manifest: read JSON":  func(x *Index) { x.Images[0].Manifest = "" },
		"an index of 300 images":   func(x *Index) { x.Images = make([]Image, 300) },
		"names other layers than": func(x *Index) {
			x.Images[0].Manifest = strings.Replace(image.Manifest, "layer.v1.tar", "layer.v1.tar+gzip", 1)
		},
		`its config is for "linux"`:    func(x *Index) { x.Images[0] = recompose(t, image, `"amd64"`, `""`) },
		"its config names other layer": func(x *Index) { x.Images[0] = recompose(t, image, `"layers"`, `"layer"`) },
	} {
		x, err := ParseIndex(good)
		if err != nil {
			t.Fatal(err)
		}
		change(x)
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseIndex(text); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, text := range []string{"", "{}", string(good) + "x", strings.Replace(string(good), `"images"`, `"x": 1, "images"`, 1)} {
		if _, err := ParseIndex([]byte(text)); err == nil {
			t.Errorf("%.60q was accepted", text)
		}
	}
}

// packedIndex is an index of one packed image of three blobs.
func packedIndex() *Index {
	blob := func(text string) Blob {
		return Blob{Digest: digest.FromString(text), Size: int64(len(text))}
	}
	blobs := []Blob{blob("the manifest"), blob("the config"), blob("the layer")}
	packed := Packed{Reference: "docker.io/library/shop:v1", Target: blobs[0], Type: ocispec.MediaTypeImageManifest, Config: blobs[1].Digest, Blobs: blobs}
	slices.SortFunc(packed.Blobs, func(a, b Blob) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return &Index{Format: format, Packed: []Packed{packed}}
}

func TestWrongPackedImagesAreRefused(t *testing.T) {
	good, err := packedIndex().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if x, err := ParseIndex(good); err != nil || x.Packed[0].ByDigest() != "docker.io/library/shop@"+digest.FromString("the manifest").String() || x.Packed[0].Size() != 31 {
		t.Fatalf("got %+v, %v", x, err)
	}
	files := folder(t)
	for name, change := range map[string]func(x *Index){
		"belong here":                     func(x *Index) { x.Packed[0].Reference = "shop" },
		"its target is none of its blobs": func(x *Index) { x.Packed[0].Target.Size++ },
		"its config is none of its blobs": func(x *Index) { x.Packed[0].Config = digest.FromString("x") },
		"its blobs are not sorted":        func(x *Index) { slices.Reverse(x.Packed[0].Blobs) },
		"sha256:… belongs here":           func(x *Index) { x.Packed[0].Blobs[0].Digest = "sha256:../../etc" },
		"cannot have 0 bytes":             func(x *Index) { x.Packed[0].Blobs[0].Size = 0 },
		"it has 513 blobs":                func(x *Index) { x.Packed[0].Blobs = make([]Blob, 513) },
		"an index of 257 images":          func(x *Index) { x.Packed = make([]Packed, 257) },
		"the images are not sorted":       func(x *Index) { x.Packed = append(x.Packed, x.Packed[0]) },
		"or it is there twice": func(x *Index) {
			_, image := seedFolder(t, files)
			x.Images = []Image{*image}
			x.Packed[0].Reference = image.Reference
		},
		"has another size in another image": func(x *Index) {
			other := packedIndex().Packed[0]
			other.Reference += "2"
			i := slices.IndexFunc(other.Blobs, func(b Blob) bool { return b == other.Target })
			other.Target.Size++
			other.Blobs[i].Size++
			x.Packed = append(x.Packed, other)
		},
	} {
		x := packedIndex()
		change(x)
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseIndex(text); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestABlobOfAnotherSizeThanTheIndexSaysIsRefused(t *testing.T) {
	dir, x := t.TempDir(), packedIndex()
	text, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	config := x.Packed[0].Config
	if err := errors.Join(os.WriteFile(filepath.Join(dir, IndexName), text, 0o644), os.Mkdir(filepath.Join(dir, PackedFolder), 0o755),
		os.WriteFile(filepath.Join(dir, PackedBlob(config)), []byte("the config, changed"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ReaderAt(config); err == nil || !strings.Contains(err.Error(), "in the index") {
		t.Errorf("got %v", err)
	}
	if _, _, err := s.ReaderAt(x.Packed[0].Target.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// recompose changes the config of an image and what the manifest says of it.
func recompose(t *testing.T, image *Image, from, to string) Image {
	t.Helper()
	changed := *image
	changed.Config = strings.Replace(image.Config, from, to, 1)
	var manifest ocispec.Manifest
	if err := json.Unmarshal([]byte(image.Manifest), &manifest); err != nil {
		t.Fatal(err)
	}
	manifest.Config.Digest, manifest.Config.Size = changed.ConfigDigest(), int64(len(changed.Config))
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	changed.Manifest = string(text)
	return changed
}

func FuzzParseIndex(f *testing.F) {
	files := f.TempDir()
	if err := os.WriteFile(filepath.Join(files, "a"), []byte("x"), 0o644); err != nil {
		f.Fatal(err)
	}
	dir, _ := seedFolder(f, files)
	good, err := os.ReadFile(filepath.Join(dir, IndexName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	packed, err := packedIndex().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add([]byte(`{"format":2,"images":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := ParseIndex(text)
		if err != nil {
			return
		}
		// What was accepted can be stored and read again.
		again, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseIndex(again); err != nil {
			t.Fatal(err)
		}
	})
}
