package containerimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

// layout is an OCI image layout that is being made.
type layout struct {
	t     testing.TB
	files map[string][]byte
	index ocispec.Index
}

func newLayout(t testing.TB) *layout {
	return &layout{t, map[string][]byte{ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion": "1.0.0"}`)}, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
}

func (l *layout) blob(mediaType string, contents []byte) ocispec.Descriptor {
	d := digest.FromBytes(contents)
	l.files["blobs/sha256/"+d.Encoded()] = contents
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(contents))}
}

func (l *layout) json(mediaType string, document any) ocispec.Descriptor {
	l.t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(mediaType, text)
}

// image adds the blobs of an image with two layers, one of them its own. Changes
// are made before the manifest is.
func (l *layout) image(platform ocispec.Platform, changes ...func(*ocispec.Manifest, *ocispec.Image)) ocispec.Descriptor {
	l.t.Helper()
	config := ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	manifest.Config.MediaType = ocispec.MediaTypeImageConfig
	for _, files := range []map[string][]byte{{"etc/common": []byte("for all")}, {"program": []byte("of " + platform.Architecture)}} {
		layer := tarOf(l.t, files)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer))
		manifest.Layers = append(manifest.Layers, l.blob(ocispec.MediaTypeImageLayerGzip, compressed(l.t, layer)))
	}
	for _, change := range changes {
		change(&manifest, &config)
	}
	manifest.Config = l.json(manifest.Config.MediaType, config)
	return l.json(ocispec.MediaTypeImageManifest, manifest)
}

// name adds an image to the index of the layout.
func (l *layout) name(desc ocispec.Descriptor, annotation, name string) {
	desc.Annotations = map[string]string{annotation: name}
	l.index.Manifests = append(l.index.Manifests, desc)
}

func (l *layout) complete() map[string][]byte {
	l.t.Helper()
	text, err := json.Marshal(l.index)
	if err != nil {
		l.t.Fatal(err)
	}
	l.files[ocispec.ImageIndexFile] = text
	return l.files
}

// tar returns the layout as an archive.
func (l *layout) tar() string { return archiveOf(l.t, l.complete()) }

func archiveOf(t testing.TB, files map[string][]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive.tar")
	if err := os.WriteFile(name, tarOf(t, files), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func tarOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func compressed(t testing.TB, contents []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(contents); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var (
	amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
)

// rootOf unpacks archives for arm64 into a root that the node's own checks
// accept, and returns its images.
func rootOf(t *testing.T, archives ...string) *imageseed.Index {
	t.Helper()
	root, index := tree.New(), &imageseed.Index{}
	for _, name := range archives {
		dir := t.TempDir()
		a, err := Unpack(t.Context(), name, dir, "arm64")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Save(); err != nil {
			t.Fatal(err)
		}
		if a, err = Load(dir); err != nil {
			t.Fatal(err)
		}
		if err := a.Place(root); err != nil {
			t.Fatal(err)
		}
		index.Packed = append(index.Packed, a.Images...)
	}
	text, err := index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := root.AddBytes(path.Join(imageseed.Folder, imageseed.IndexName), 0o644, text); err != nil {
		t.Fatal(err)
	}
	if found, _ := findings(root, "arm64"); found != nil {
		t.Errorf("found %q", found)
	}
	dir := t.TempDir()
	if err := root.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	seed, err := imageseed.Open(filepath.Join(dir, imageseed.Folder))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range seed.Digests() {
		r, size, err := seed.ReaderAt(d)
		if err != nil {
			t.Fatal(err)
		}
		contents := make([]byte, size)
		if n, err := r.ReadAt(contents, 0); int64(n) != size {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if got := digest.FromBytes(contents); got != d {
			t.Errorf("%s has the digest %s", d, got)
		}
		r.Close()
	}
	return index
}

func TestTheImageForTheBoardIsTaken(t *testing.T) {
	l := newLayout(t)
	ours, theirs := l.image(arm64), l.image(amd64)
	statement := l.image(ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	for desc, platform := range map[*ocispec.Descriptor]ocispec.Platform{&ours: arm64, &theirs: amd64, &statement: {OS: "unknown", Architecture: "unknown"}} {
		desc.Platform = &platform
	}
	both := l.json(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{statement, theirs, ours}})
	l.name(both, images.AnnotationImageName, "docker.io/library/shop:v1")
	l.name(ours, ocispec.AnnotationRefName, "registry.example/shop:v2")
	index := rootOf(t, l.tar())
	if len(index.Packed) != 2 {
		t.Fatalf("got %+v", index.Packed)
	}
	v1, v2 := index.Packed[0], index.Packed[1]
	if v1.Reference != "docker.io/library/shop:v1" || v1.Target.Digest != both.Digest || len(v1.Blobs) != 5 ||
		v1.ByDigest() != "docker.io/library/shop@"+both.Digest.String() {
		t.Errorf("got %+v", v1)
	}
	if v2.Reference != "registry.example/shop:v2" || v2.Target.Digest != ours.Digest || len(v2.Blobs) != 4 || v2.Config != v1.Config {
		t.Errorf("got %+v", v2)
	}
}

func TestEveryFormOfAnArchiveIsRead(t *testing.T) {
	l := newLayout(t)
	l.name(l.image(arm64), images.AnnotationImageName, "docker.io/library/shop:v1")
	want := rootOf(t, l.tar()).Packed[0]

	folder := t.TempDir()
	for name, contents := range l.files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), contents, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	zipped := filepath.Join(t.TempDir(), "archive.tar.gz")
	if err := os.WriteFile(zipped, compressed(t, tarOf(t, l.files)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{folder, zipped} {
		if got := rootOf(t, name).Packed[0]; got.Target != want.Target || got.Config != want.Config || !slices.Equal(got.Blobs, want.Blobs) {
			t.Errorf("%s: got %+v", name, got)
		}
	}

	// As docker save wrote it before there were layouts: layers that are not
	// compressed, no manifest, the name as people write it.
	layer := tarOf(t, map[string][]byte{"program": []byte("x")})
	config, err := json.Marshal(ocispec.Image{Platform: arm64, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}}})
	if err != nil {
		t.Fatal(err)
	}
	docker := archiveOf(t, map[string][]byte{
		"0123/layer.tar": layer, "4567.json": config, "repositories": []byte("{}"),
		"manifest.json": []byte(`[{"Config": "4567.json", "RepoTags": ["shop:v3"], "Layers": ["0123/layer.tar"]}]`),
	})
	got := rootOf(t, docker, l.tar()).Packed
	if len(got) != 2 || got[0].Reference != "docker.io/library/shop:v3" || len(got[0].Blobs) != 3 || got[0].Config != digest.FromBytes(config) {
		t.Errorf("got %+v", got)
	}
}

func TestArchivesThatHelpNoNodeAreRefused(t *testing.T) {
	const name = "docker.io/library/shop:v1"
	cases := map[string]func(l *layout) string{
		"is for linux/amd64, and a node of this board needs linux/arm64": func(l *layout) string {
			l.name(l.image(amd64), images.AnnotationImageName, name)
			return l.tar()
		},
		// Such a processor may run it, and the node's root is not made for it.
		"is for linux/arm, and": func(l *layout) string {
			l.name(l.image(ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}), images.AnnotationImageName, name)
			return l.tar()
		},
		"has no name (\"v1\"): save it by its name and tag": func(l *layout) string {
			l.name(l.image(arm64), ocispec.AnnotationRefName, "v1")
			return l.tar()
		},
		"registry, name and tag belong here": func(l *layout) string {
			l.name(l.image(arm64), images.AnnotationImageName, name+"@"+digest.FromString("x").String())
			return l.tar()
		},
		"two images are " + name: func(l *layout) string {
			l.name(l.image(arm64), images.AnnotationImageName, name)
			l.name(l.image(ocispec.Platform{OS: "linux", Architecture: "arm64"}), images.AnnotationImageName, name)
			return l.tar()
		},
		"lacks a part of it": func(l *layout) string {
			l.name(l.image(arm64), images.AnnotationImageName, name)
			delete(l.files, "blobs/sha256/"+digest.FromBytes(compressed(l.t, tarOf(l.t, map[string][]byte{"program": []byte("of arm64")}))).Encoded())
			return l.tar()
		},
		"bytes, and 5 are named": func(l *layout) string {
			desc := l.image(arm64)
			desc.Size = 5
			l.name(desc, images.AnnotationImageName, name)
			return l.tar()
		},
		"and no image": func(l *layout) string {
			l.name(l.blob("text/plain", []byte("x")), images.AnnotationImageName, name)
			return l.tar()
		},
		"tar+gzip+encrypted\", which a node cannot unpack": func(l *layout) string {
			l.name(l.image(arm64, func(m *ocispec.Manifest, _ *ocispec.Image) { m.Layers[0].MediaType += "+encrypted" }), images.AnnotationImageName, name)
			return l.tar()
		},
		"this is no image that can be run": func(l *layout) string {
			l.name(l.image(arm64, func(m *ocispec.Manifest, _ *ocispec.Image) {
				m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
			}), images.AnnotationImageName, name)
			return l.tar()
		},
		"its config names 1 layers, and its manifest 2": func(l *layout) string {
			l.name(l.image(arm64, func(_ *ocispec.Manifest, c *ocispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }), images.AnnotationImageName, name)
			return l.tar()
		},
		"a file is damaged": func(l *layout) string {
			l.name(l.image(arm64, func(_ *ocispec.Manifest, c *ocispec.Image) { c.RootFS.DiffIDs[1] = c.RootFS.DiffIDs[0] }), images.AnnotationImageName, name)
			return l.tar()
		},
		"sha256:… belongs here": func(l *layout) string {
			l.name(l.image(arm64, func(m *ocispec.Manifest, _ *ocispec.Image) {
				m.Layers[0].Digest = digest.Digest("sha512:" + strings.Repeat("0", 128))
			}), images.AnnotationImageName, name)
			return l.tar()
		},
		// A node would look at no other.
		"is for linux/amd64, and a node": func(l *layout) string {
			liar, ours := l.image(amd64), l.image(arm64)
			liar.Platform, ours.Platform = &arm64, &arm64
			l.name(l.json(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{liar, ours}}),
				images.AnnotationImageName, name)
			return l.tar()
		},
		"is for linux/aarch64, and a node": func(l *layout) string {
			l.name(l.image(ocispec.Platform{OS: "linux", Architecture: "aarch64"}), images.AnnotationImageName, name)
			return l.tar()
		},
		"an index and a manifest at once": func(l *layout) string {
			l.name(l.json(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "manifests": []string{}}), images.AnnotationImageName, name)
			return l.tar()
		},
		"decompress it first": func(l *layout) string {
			file := filepath.Join(l.t.TempDir(), "archive.tar.xz")
			if err := os.WriteFile(file, []byte("\xfd7zXZ\x00\x00\x04"), 0o644); err != nil {
				l.t.Fatal(err)
			}
			return file
		},
		"neither a file nor a folder": func(*layout) string { return os.DevNull },
		"indexes lead to its manifest": func(l *layout) string {
			desc := l.image(arm64)
			for range maxIndexes + 1 {
				desc = l.json(ocispec.MediaTypeImageIndex, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc}})
			}
			l.name(desc, images.AnnotationImageName, name)
			return l.tar()
		},
		"there is no image in it": func(l *layout) string { return l.tar() },
		"unrecognized image format": func(l *layout) string {
			return archiveOf(l.t, map[string][]byte{"x": []byte("x")})
		},
		"is no OCI image layout": func(l *layout) string { return l.t.TempDir() },
		"unexpected EOF": func(l *layout) string {
			l.name(l.image(arm64), images.AnnotationImageName, name)
			whole := l.tar()
			if err := os.Truncate(whole, 512+5); err != nil {
				l.t.Fatal(err)
			}
			return whole
		},
		"no such file": func(l *layout) string { return filepath.Join(l.t.TempDir(), "none.tar") },
	}
	for want, make := range cases {
		file := make(newLayout(t))
		if _, err := Unpack(t.Context(), file, t.TempDir(), "arm64"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if _, err := Digest(t.Context(), filepath.Join(t.TempDir(), "none.tar")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsDecompressedIsBounded(t *testing.T) {
	r := &bounded{io.NopCloser(strings.NewReader("four")), 3}
	if text, err := io.ReadAll(r); err == nil || len(text) > 3 {
		t.Errorf("got %q, %v", text, err)
	}
	r = &bounded{io.NopCloser(strings.NewReader("four")), 4}
	if text, err := io.ReadAll(r); err != nil || string(text) != "four" {
		t.Errorf("got %q, %v", text, err)
	}
}

// What cannot be read is an error, whatever it is.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte("\x1f\x8b"))
	f.Add(make([]byte, 1024))
	l := newLayout(f)
	l.name(l.image(arm64), images.AnnotationImageName, "docker.io/library/shop:v1")
	f.Add(tarOf(f, l.complete()))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, contents []byte) {
		name := filepath.Join(dir, "archive")
		if err := os.WriteFile(name, contents, 0o644); err != nil {
			t.Fatal(err)
		}
		a, err := Unpack(t.Context(), name, t.TempDir(), "arm64")
		if err == nil && len(a.Images) == 0 {
			t.Error("nothing is no error")
		}
	})
}

func TestACancelledUnpackingStops(t *testing.T) {
	l := newLayout(t)
	l.name(l.image(arm64), images.AnnotationImageName, "docker.io/library/shop:v1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Unpack(ctx, l.tar(), t.TempDir(), "arm64"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedBlobsInARootAreFound(t *testing.T) {
	l := newLayout(t)
	l.name(l.image(arm64), images.AnnotationImageName, "docker.io/library/shop:v1")
	dir := t.TempDir()
	a, err := Unpack(t.Context(), l.tar(), dir, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&imageseed.Index{Packed: a.Images}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	blob := path.Join(imageseed.Folder, imageseed.PackedBlob(a.Images[0].Config))
	whole := l.files["blobs/sha256/"+a.Images[0].Config.Encoded()]
	for want, change := range map[string]func(root *tree.Tree) error{
		"": func(*tree.Tree) error { return nil },
		"its contents are those of sha256:": func(root *tree.Tree) error {
			return root.AddBytes(blob, 0o644, bytes.Replace(whole, []byte(`"linux"`), []byte(`"minix"`), 1))
		},
		"it has 1 bytes, and the index says": func(root *tree.Tree) error { return root.AddBytes(blob, 0o644, []byte("{")) },
		"No container image has it": func(root *tree.Tree) error {
			return root.AddBytes(path.Join(imageseed.Folder, imageseed.PackedFolder, "more"), 0o644, nil)
		},
		"it is missing": func(root *tree.Tree) error { return root.AddSymlink(blob, "elsewhere") },
	} {
		root := tree.New()
		if err := errors.Join(a.Place(root), root.AddBytes(path.Join(imageseed.Folder, imageseed.IndexName), 0o644, text), change(root)); err != nil {
			t.Fatal(err)
		}
		found, _ := findings(root, "arm64")
		if all := fmt.Sprint(found); !strings.Contains(all, want) || (want == "") != (found == nil) {
			t.Errorf("%s: found %s", want, all)
		}
		if found, _ := findings(root, "amd64"); want == "" && (len(found) != 1 || !strings.Contains(found[0], "is for linux/arm64, and the board is linux/amd64")) {
			t.Errorf("on another board: %q", found)
		}
	}
}
