package node

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/skerry-os/skerry/imageseed"
)

// seedOf makes a seed of one image for each name, with files of their own.
func seedOf(t *testing.T, dir string, files map[string]string) *imageseed.Seed {
	t.Helper()
	index := &imageseed.Index{}
	for name, program := range files {
		tree := t.TempDir()
		contents, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, "program"), contents, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, "name"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		entries, err := imageseed.ScanDir(tree)
		if err != nil {
			t.Fatal(err)
		}
		image, err := imageseed.Compose(name, "amd64", ocispec.ImageConfig{Entrypoint: []string{"/program"}}, entries)
		if err != nil {
			t.Fatal(err)
		}
		index.Images = append(index.Images, *image)
		rootfs := filepath.Join(dir, imageseed.RootFS(image.Layer.Digest))
		if err := os.MkdirAll(filepath.Dir(rootfs), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(rootfs, os.DirFS(tree)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, imageseed.IndexName), text, 0o644); err != nil {
		t.Fatal(err)
	}
	seed, err := imageseed.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// small is a seed whose program is a small file.
func small(t *testing.T) *imageseed.Seed {
	t.Helper()
	program := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(program, []byte("#!/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return seedOf(t, t.TempDir(), map[string]string{"skerry.dev/a:v1": program})
}

func TestBlobsOfTheSeedAreInTheStore(t *testing.T) {
	seed := small(t)
	stock, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Store(stock, seed)
	for _, d := range seed.Digests() {
		info, err := s.Info(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.ReaderAt(t.Context(), ocispec.Descriptor{Digest: d})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := digest.FromReader(content.NewReader(r))
		if err != nil || got != d || r.Size() != info.Size {
			t.Errorf("%s: read %s of %d bytes, %d in the info: %v", d, got, r.Size(), info.Size, err)
		}
		if _, err := s.Writer(t.Context(), content.WithRef("x"), content.WithDescriptor(ocispec.Descriptor{Digest: d})); !errdefs.IsAlreadyExists(err) {
			t.Errorf("writer: %v", err)
		}
		if err := s.Delete(t.Context(), d); err != nil {
			t.Errorf("delete: %v", err)
		}
		if _, err := s.Info(t.Context(), d); err != nil {
			t.Errorf("after the delete: %v", err)
		}
		if _, err := s.Update(t.Context(), info); err == nil {
			t.Error("its labels were changed")
		}
	}
}

func TestOtherBlobsAreThoseOfTheLocalStore(t *testing.T) {
	seed := small(t)
	stock, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Store(stock, seed)
	contents := []byte("local")
	d := digest.FromBytes(contents)
	if _, err := s.ReaderAt(t.Context(), ocispec.Descriptor{Digest: d}); !errdefs.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	if err := content.WriteBlob(t.Context(), s, "x", bytes.NewReader(contents), ocispec.Descriptor{Digest: d, Size: 5}); err != nil {
		t.Fatal(err)
	}
	// A blob of the seed that the local store has as well, from a pull before the update.
	both := seed.Images()[0].ConfigDigest()
	if err := content.WriteBlob(t.Context(), stock, "y", bytes.NewReader([]byte(seed.Images()[0].Config)), ocispec.Descriptor{Digest: both}); err != nil {
		t.Fatal(err)
	}
	var walked []digest.Digest
	if err := s.Walk(t.Context(), func(info content.Info) error {
		walked = append(walked, info.Digest)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := append(seed.Digests(), d)
	slices.Sort(want)
	slices.Sort(walked)
	if !slices.Equal(walked, want) {
		t.Errorf("walked over %v\nwant %v", walked, want)
	}
	if err := s.Delete(t.Context(), both); err != nil {
		t.Error(err)
	}
	if _, err := stock.Info(t.Context(), both); !errdefs.IsNotFound(err) {
		t.Errorf("the local copy is still there: %v", err)
	}
	r, err := s.ReaderAt(t.Context(), ocispec.Descriptor{Digest: d})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(content.NewReader(r)); err != nil || !bytes.Equal(got, contents) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTheGarbageCollectorCanGoOverASeedThatNobodyUses(t *testing.T) {
	seed := small(t)
	stock, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(t.TempDir(), "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	db := metadata.NewDB(file, Store(stock, seed), nil)
	if err := db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	// Something that has to be collected, so that blobs are looked at.
	contents := []byte("nobody needs this")
	d := digest.FromBytes(contents)
	if err := content.WriteBlob(ctx, db.ContentStore(), "x", bytes.NewReader(contents), ocispec.Descriptor{Digest: d, Size: int64(len(contents))}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.GarbageCollect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := stock.Info(ctx, d); !errdefs.IsNotFound(err) {
		t.Errorf("nothing was collected: %v", err)
	}
}

func TestALinkTakesTheEmptyFoldersPlaceAndIsCorrected(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "fs")
	target := func() string {
		got, err := os.Readlink(at)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	// What a power cut left.
	if err := os.Symlink("/half", at+".new"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/one", "/one", "/two"} {
		if err := link(at, want); err != nil || target() != want {
			t.Errorf("a link to %s, %v", target(), err)
		}
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := link(at, "/three"); err != nil || target() != "/three" {
		t.Errorf("in place of nothing: %v", err)
	}
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "fs/data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := link(filepath.Join(full, "fs"), "/x"); err == nil {
		t.Error("a folder with files was replaced")
	}
}
