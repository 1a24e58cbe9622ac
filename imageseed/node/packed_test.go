//go:build rootful

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/containerimage/layouttest"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

func TestAPackedImageRunsAsOneThatWasPulled(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1" // which pods need too
	archive := d.exported(name)
	packed := packedSeed(t, d.path("seed"), archive)
	d.start(d.path("seed"))
	if got := d.apply(d.path("seed")); !slices.Equal(got.Added, []string{name}) || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("again: %+v", got)
	}
	d.collect()
	if written := bytesOf(t, d.path("root", "io.containerd.content.v1.content")); written != 0 {
		t.Errorf("%d bytes of blobs were copied", written)
	}
	images := d.images()
	var status *cri.ImageStatusResponse
	d.waitFor("the image in the CRI plugin", func() bool {
		var err error
		status, err = images.ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: packed.ByDigest()}})
		return err == nil && status.Image != nil
	})
	if status.Image.Id != packed.Config.String() || !status.Image.Pinned || !slices.Equal(status.Image.RepoTags, []string{name}) ||
		!slices.Equal(status.Image.RepoDigests, []string{packed.ByDigest()}) {
		t.Errorf("got %+v", status.Image)
	}

	// The CRI plugin unpacks what was not unpacked when it makes a container.
	if err := d.container(name, filepath.Base(d.dir)); err != nil {
		d.fatal(err)
	}
	d.collect()
	d.check(3)
	if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != 0 || err != nil {
		t.Errorf("unpacked %d, %v", n, err)
	}
}

func TestPackedImagesAreUnpackedOnce(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1"
	packedSeed(t, d.path("seed"), d.exported(name))
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	for _, want := range []int{1, 0} {
		if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != want || err != nil {
			d.fatal(fmt.Errorf("unpacked %d, want %d: %w", n, want, err))
		}
		d.collect()
		d.check(3)
	}
}

// Two names of one image, one of them by an index: both want its ID.
func TestImagesOfOneConfigLiveTogether(t *testing.T) {
	d := newDaemon(t)
	const name, indexed = "skerry.dev/pause:v1", "skerry.dev/the-same:v1"
	program, err := os.ReadFile(filepath.Join(d.bin, "pause"))
	if err != nil {
		t.Fatal(err)
	}
	layout := d.path("layout")
	if err := layouttest.Write(layout, name, runtime.GOARCH, program); err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(layout, ocispec.ImageIndexFile)
	text, err := os.ReadFile(top)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	manifest := index.Manifests[0]
	manifest.Annotations, manifest.Platform = nil, &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	between, err := json.Marshal(ocispec.Index{Versioned: index.Versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	index.Manifests = append(index.Manifests, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(between), Size: int64(len(between)),
		Annotations: map[string]string{ocispec.AnnotationRefName: indexed},
	})
	text, err = json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(top, text, 0o644),
		os.WriteFile(filepath.Join(layout, "blobs", "sha256", digest.FromBytes(between).Encoded()), between, 0o644)); err != nil {
		t.Fatal(err)
	}

	packedSeed(t, d.path("seed"), layout)
	d.start(d.path("seed"))
	if got := d.apply(d.path("seed")).Added; !slices.Equal(got, []string{name, indexed}) {
		t.Errorf("added %v", got)
	}
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("again: %+v", got)
	}
	d.collect()
	if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != 1 || err != nil {
		d.fatal(fmt.Errorf("unpacked %d: %w", n, err))
	}
	d.collect()
	d.check(5)
	if err := d.container(indexed, filepath.Base(d.dir)); err != nil {
		d.fatal(err)
	}
}

// After an update that has an image no more, nothing of it may be left that says
// it were there: not under names that somebody gave it either.
func TestAPackedImageThatIsGoneCanBePulledAgain(t *testing.T) {
	d := newDaemon(t)
	const name, alias = "skerry.dev/pause:v1", "example.com/mine:v1"
	archive := d.exported(name)
	packed := packedSeed(t, d.path("seed"), archive)
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	// As a pull of the same image does, which finds all of it there and takes the
	// labels away.
	d.unlabelled(name)
	d.ctr("images", "tag", name, alias)
	d.kill()

	seedOf(t, d.path("second"), map[string]string{"skerry.dev/other:v1": filepath.Join(d.bin, "pause")})
	d.start(d.path("second"))
	got := d.apply(d.path("second")).Removed
	slices.Sort(got)
	want := []string{packed.Config.String(), packed.ByDigest(), name, alias}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("removed %v\nwant %v", got, want)
	}
	d.collect()
	d.ctr("images", "import", "--snapshotter", "overlayfs", archive)
	d.runs(name)
}

func TestANameThatWasPulledSinceStaysTheRegistrys(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1"
	shim := filepath.Join(d.bin, "containerd-shim-runc-v2")
	seedOf(t, d.path("newer"), map[string]string{name: shim})
	d.start(d.path("newer"))
	d.apply(d.path("newer"))
	newer := d.path("newer.tar")
	d.export(newer, name)
	d.kill()
	if err := os.RemoveAll(d.path("root")); err != nil {
		t.Fatal(err)
	}
	seedOf(t, d.path("seed"), map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	d.ctr("images", "import", "--snapshotter", "overlayfs", newer) // to where the name leads now
	pulled := d.unlabelled(name)
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	if now := d.record(name); now.Target.Digest != pulled.Target.Digest {
		t.Errorf("%s is %s, and was pulled as %s", name, now.Target.Digest, pulled.Target.Digest)
	}
}

// exported is an archive with an image of pause, as people have it, by
// containerd's own tool. The daemon is as new afterwards.
func (d *daemon) exported(name string) (archive string) {
	d.t.Helper()
	seedOf(d.t, d.path("first"), map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(d.path("first"))
	d.apply(d.path("first"))
	archive = d.path("archive.tar")
	d.export(archive, name)
	d.kill()
	if err := os.RemoveAll(d.path("root")); err != nil {
		d.t.Fatal(err)
	}
	return archive
}

// packedSeed makes a seed of the image in an archive, as the builder does.
func packedSeed(t *testing.T, dir, archive string) imageseed.Packed {
	t.Helper()
	made, err := containerimage.Unpack(t.Context(), archive, t.TempDir(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&imageseed.Index{Packed: made.Images}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New()
	if err := errors.Join(root.AddBytes(filepath.Join(imageseed.Folder, imageseed.IndexName), 0o644, text), made.Place(root)); err != nil {
		t.Fatal(err)
	}
	whole := t.TempDir()
	if err := errors.Join(root.WriteTo(whole), os.CopyFS(dir, os.DirFS(filepath.Join(whole, imageseed.Folder)))); err != nil {
		t.Fatal(err)
	}
	return made.Images[0]
}

// unlabelled takes the labels of a record away, as a pull does.
func (d *daemon) unlabelled(name string) images.Image {
	d.t.Helper()
	record := d.record(name)
	record.Labels = nil
	record, err := d.client.ImageService().Update(namespaces.WithNamespace(d.t.Context(), namespace), record)
	if err != nil {
		d.fatal(err)
	}
	return record
}

func (d *daemon) record(name string) images.Image {
	d.t.Helper()
	record, err := d.client.ImageService().Get(namespaces.WithNamespace(d.t.Context(), namespace), name)
	if err != nil {
		d.fatal(err)
	}
	return record
}
