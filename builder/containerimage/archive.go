package containerimage

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

const (
	// maxDocument bounds an index, a manifest or a config, in bytes.
	maxDocument = 8 << 20
	// maxIndexes bounds how many indexes lead to a manifest.
	maxIndexes = 4
	// blobFolder is where a content store has its blobs.
	blobFolder = "blobs/sha256"
)

// Archive is what was taken from an archive of container images.
type Archive struct {
	Images []imageseed.Packed // sorted by reference
	dir    string
}

// Unpack reads the container images of an archive, as docker save, podman save
// and ctr images export write it, or of a folder that is an OCI image layout,
// and writes those blobs of them to dir that a node of the architecture needs.
// It checks every blob by its digest.
func Unpack(ctx context.Context, name, dir, architecture string) (*Archive, error) {
	a, err := unpack(ctx, name, dir, architecture)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

func unpack(ctx context.Context, name, dir, architecture string) (*Archive, error) {
	// The store warns of file systems without fs-verity, which nobody needs here.
	if err := log.SetLevel("error"); err != nil {
		return nil, err
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return nil, err
	}
	file, err := openArchive(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stream, err := compression.DecompressStream(bufio.NewReader(file))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	top, err := archive.ImportIndex(ctx, store, &withContext{ctx, stream})
	if errors.Is(err, tar.ErrHeader) {
		return nil, fmt.Errorf("this is no archive as docker save writes it: %w", err)
	}
	if err != nil {
		return nil, err
	}
	s := &selection{store: store, matcher: platforms.OnlyStrict(ocispec.Platform{OS: "linux", Architecture: architecture})}
	made, err := s.images(ctx, top, architecture)
	if err != nil {
		return nil, err
	}
	if err := removeOthers(dir, made); err != nil {
		return nil, err
	}
	return &Archive{Images: made, dir: dir}, nil
}

// withContext stops reading when the context ends.
type withContext struct {
	ctx context.Context
	r   io.Reader
}

func (w *withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

// Digest returns what stands for the contents of an archive or a folder that
// Unpack reads.
func Digest(name string) (string, error) {
	contents := tree.New()
	layout, err := isLayout(name)
	switch {
	case err != nil:
		return "", err
	case layout:
		err = contents.AddHostDir(name)
	default:
		err = contents.AddSource("archive", 0o644, name)
	}
	if err != nil {
		return "", err
	}
	return contents.Digest()
}

// isLayout tells whether a name is that of an OCI image layout, and not of a
// file (OCI image specification v1.1, image-layout.md).
func isLayout(name string) (bool, error) {
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(name, ocispec.ImageLayoutFile)); err != nil {
		return false, fmt.Errorf("folder %s is no OCI image layout: it has no file %s", name, ocispec.ImageLayoutFile)
	}
	return true, nil
}

// openArchive opens a file, or a folder as an archive of its files.
func openArchive(name string) (io.ReadCloser, error) {
	layout, err := isLayout(name)
	if err != nil {
		return nil, err
	}
	if !layout {
		return os.Open(name)
	}
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		w.CloseWithError(errors.Join(archive.AddFS(os.DirFS(name)), archive.Close()))
	}()
	return r, nil
}

// selection chooses images for one platform.
type selection struct {
	store   content.Store
	matcher platforms.MatchComparer
}

// images returns those that the top index names, sorted by reference.
func (s *selection) images(ctx context.Context, top ocispec.Descriptor, architecture string) ([]imageseed.Packed, error) {
	var index ocispec.Index
	if err := s.read(ctx, top, &index); err != nil {
		return nil, err
	}
	byName := map[string]imageseed.Packed{}
	others := map[string][]string{} // what an image is for, if it is not for this platform
	for _, desc := range index.Manifests {
		name, err := nameOf(desc)
		if err != nil {
			return nil, err
		}
		chosen, found, err := s.choose(ctx, desc, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if chosen == nil {
			others[name] = append(others[name], found...)
			continue
		}
		if already, ok := byName[name]; ok && already.Target.Digest != desc.Digest {
			return nil, fmt.Errorf("two images are %s: %s and %s", name, already.Target.Digest, desc.Digest)
		}
		chosen.Reference, chosen.Type, chosen.Target = name, desc.MediaType, blobOf(desc)
		chosen.add(desc)
		byName[name] = chosen.Packed
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if _, ok := byName[name]; !ok {
			return nil, fmt.Errorf("%s is for %s, and a node of this board needs linux/%s: save it for that, as in docker pull --platform linux/%s",
				name, cmp.Or(strings.Join(others[name], ", "), "no platform"), architecture, architecture)
		}
	}
	if len(byName) == 0 {
		return nil, errors.New("there is no image in it")
	}
	var made []imageseed.Packed
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		made = append(made, byName[name])
	}
	return made, nil
}

// nameOf returns what an archive calls an image, with registry and tag.
func nameOf(desc ocispec.Descriptor) (string, error) {
	given := desc.Annotations[images.AnnotationImageName]
	if given == "" {
		given = desc.Annotations[ocispec.AnnotationRefName]
		// Of a name that is a tag alone, nobody knows whose it is.
		if given == "" || !strings.ContainsAny(given, "/:") {
			return "", fmt.Errorf("image %s has no name (%q): save it by its name and tag, as in docker save registry.example/app:v1", desc.Digest, given)
		}
	}
	named, err := reference.ParseDockerRef(given)
	if err != nil {
		return "", fmt.Errorf("image %s: name %.200q: %w", desc.Digest, given, err)
	}
	return named.String(), imageseed.CheckReference(named.String())
}

// chosen is an image that is being put together.
type chosen struct{ imageseed.Packed }

// add adds a blob, once.
func (c *chosen) add(desc ocispec.Descriptor) {
	at, found := slices.BinarySearchFunc(c.Blobs, desc.Digest, func(b imageseed.Blob, d digest.Digest) int {
		return strings.Compare(b.Digest.String(), d.String())
	})
	if !found {
		c.Blobs = slices.Insert(c.Blobs, at, blobOf(desc))
	}
}

func blobOf(desc ocispec.Descriptor) imageseed.Blob {
	return imageseed.Blob{Digest: desc.Digest, Size: desc.Size}
}

// choose returns the blobs below an index or a manifest that the platform needs,
// or for which platforms there is something.
func (s *selection) choose(ctx context.Context, desc ocispec.Descriptor, indexes int) (*chosen, []string, error) {
	switch {
	case images.IsManifestType(desc.MediaType):
		return s.manifest(ctx, desc)
	case !images.IsIndexType(desc.MediaType):
		return nil, nil, fmt.Errorf("%s is a %.100q and no image", desc.Digest, desc.MediaType)
	case indexes == maxIndexes:
		return nil, nil, fmt.Errorf("more than %d indexes lead to its manifest", maxIndexes)
	}
	var index ocispec.Index
	if err := s.read(ctx, desc, &index); err != nil {
		return nil, nil, err
	}
	// The best match first; what does not say what it is for is asked last.
	children := slices.Clone(index.Manifests)
	slices.SortStableFunc(children, func(a, b ocispec.Descriptor) int {
		x, y := platformOf(a), platformOf(b)
		switch {
		case s.matcher.Less(x, y):
			return -1
		case s.matcher.Less(y, x):
			return 1
		}
		return 0
	})
	var found []string
	for _, child := range children {
		if child.Platform != nil && !s.matcher.Match(*child.Platform) {
			if child.Platform.OS != "unknown" { // a statement on an image (BuildKit)
				found = append(found, platforms.Format(*child.Platform))
			}
			continue
		}
		made, others, err := s.choose(ctx, child, indexes+1)
		if err != nil {
			return nil, nil, err
		}
		if made != nil {
			made.add(child)
			return made, nil, nil
		}
		found = append(found, others...)
	}
	return nil, found, nil
}

// platformOf returns what an index says that a manifest is for.
func platformOf(desc ocispec.Descriptor) ocispec.Platform {
	if desc.Platform == nil {
		return ocispec.Platform{}
	}
	return *desc.Platform
}

// manifest returns what a manifest names, if its config is for the platform.
func (s *selection) manifest(ctx context.Context, desc ocispec.Descriptor) (*chosen, []string, error) {
	var manifest ocispec.Manifest
	if err := s.read(ctx, desc, &manifest); err != nil {
		return nil, nil, err
	}
	var config ocispec.Image
	if err := s.read(ctx, manifest.Config, &config); err != nil {
		return nil, nil, err
	}
	if !s.matcher.Match(config.Platform) {
		return nil, []string{platforms.Format(config.Platform)}, nil
	}
	c := &chosen{imageseed.Packed{Config: manifest.Config.Digest}}
	for _, layer := range manifest.Layers {
		if !images.IsLayerType(layer.MediaType) || images.IsNonDistributable(layer.MediaType) {
			return nil, nil, fmt.Errorf("its layer %s is a %.100q, which a node cannot unpack", layer.Digest, layer.MediaType)
		}
		if err := s.has(ctx, layer); err != nil {
			return nil, nil, err
		}
		c.add(layer)
	}
	c.add(manifest.Config)
	c.add(desc)
	return c, nil, nil
}

// has checks that a blob is there, whose contents the store has compared with
// its digest.
func (s *selection) has(ctx context.Context, desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %.100q: %w", desc.Digest.String(), err)
	}
	info, err := s.store.Info(ctx, desc.Digest)
	if err != nil {
		return fmt.Errorf("the archive lacks a part of it: %w", err)
	}
	if info.Size != desc.Size {
		return fmt.Errorf("%s has %d bytes, and %d are named", desc.Digest, info.Size, desc.Size)
	}
	return nil
}

// read decodes a blob that is a JSON document.
func (s *selection) read(ctx context.Context, desc ocispec.Descriptor, into any) error {
	if err := s.has(ctx, desc); err != nil {
		return err
	}
	if desc.Size > maxDocument {
		return fmt.Errorf("%s has %d bytes: a manifest or config has at most %d", desc.Digest, desc.Size, maxDocument)
	}
	text, err := content.ReadBlob(ctx, s.store, desc)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s: %w", desc.Digest, err)
	}
	return nil
}

// removeOthers removes from a store what no image is made of.
func removeOthers(dir string, made []imageseed.Packed) error {
	wanted := map[string]bool{}
	for _, image := range made {
		for _, b := range image.Blobs {
			wanted[b.Digest.Encoded()] = true
		}
	}
	blobs := filepath.Join(dir, filepath.FromSlash(blobFolder))
	entries, err := os.ReadDir(blobs)
	errs := []error{err, os.RemoveAll(filepath.Join(dir, "ingest"))}
	for _, e := range entries {
		if !wanted[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(blobs, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// listName is the file with the images of an archive, beside their blobs.
const listName = "images.json"

// Save writes what the images are beside their blobs, for Load.
func (a *Archive) Save() error {
	text, err := json.Marshal(a.Images)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, listName), text, 0o644)
}

// Load opens a folder that Unpack and Save wrote.
func Load(dir string) (*Archive, error) {
	text, err := os.ReadFile(filepath.Join(dir, listName))
	if err != nil {
		return nil, err
	}
	a := &Archive{dir: dir}
	return a, json.Unmarshal(text, &a.Images)
}

// Place adds the blobs to a root, where a node looks for them. Images can have
// blobs in common.
func (a *Archive) Place(root *tree.Tree) error {
	for _, image := range a.Images {
		for _, b := range image.Blobs {
			source := filepath.Join(a.dir, filepath.FromSlash(blobFolder), b.Digest.Encoded())
			if err := root.AddSource(path.Join(imageseed.Folder, imageseed.PackedBlob(b.Digest)), 0o644, source); err != nil {
				return err
			}
		}
	}
	return nil
}
