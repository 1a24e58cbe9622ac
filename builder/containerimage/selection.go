package containerimage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/ctxio"
	"github.com/skerry-os/skerry/imageseed"
)

const (
	// maxDocument bounds an index, a manifest or a config, in bytes.
	maxDocument = 8 << 20
	// maxIndexes bounds how many indexes lead to a manifest.
	maxIndexes = 4
)

// selection chooses images for one platform, as a node does (images.Manifest of
// containerd).
type selection struct {
	store    content.Store
	platform ocispec.Platform
}

// images returns those that the top index names, sorted by reference.
func (s *selection) images(ctx context.Context, top ocispec.Descriptor) ([]imageseed.Packed, error) {
	var index ocispec.Index
	if err := s.read(ctx, top, &index); err != nil {
		return nil, err
	}
	byName := map[string]imageseed.Packed{}
	others := map[string]error{} // why an image is not for this platform
	for _, desc := range index.Manifests {
		name, err := nameOf(desc)
		if err != nil {
			return nil, err
		}
		image := &chosen{imageseed.Packed{Reference: name, Type: desc.MediaType, Target: blobOf(desc)}}
		err = s.choose(ctx, image, desc, 0)
		if other := (*otherPlatform)(nil); errors.As(err, &other) {
			others[name] = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if already, ok := byName[name]; ok && already.Target.Digest != desc.Digest {
			return nil, fmt.Errorf("two images are %s: %s and %s", name, already.Target.Digest, desc.Digest)
		}
		byName[name] = image.Packed
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if _, ok := byName[name]; !ok {
			return nil, fmt.Errorf("%s %w, and a node of this board needs %s/%s: save it for that, as in docker pull --platform %[3]s/%[4]s",
				name, others[name], s.platform.OS, s.platform.Architecture)
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

// otherPlatform says what an image is for, where that is not what is needed.
type otherPlatform struct{ found []string }

func (o *otherPlatform) Error() string {
	if len(o.found) == 0 {
		return "is for no platform"
	}
	return "is for " + strings.Join(o.found, ", ")
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

// choose adds an index or a manifest, and of what it refers to what the platform
// needs.
func (s *selection) choose(ctx context.Context, image *chosen, desc ocispec.Descriptor, indexes int) error {
	switch {
	case images.IsManifestType(desc.MediaType):
		return s.manifest(ctx, image, desc)
	case !images.IsIndexType(desc.MediaType):
		return fmt.Errorf("%s is a %.100q and no image", desc.Digest, desc.MediaType)
	case indexes == maxIndexes:
		return fmt.Errorf("more than %d indexes lead to its manifest", maxIndexes)
	}
	var index struct {
		ocispec.Index
		Config, Layers json.RawMessage
	}
	if err := s.read(ctx, desc, &index); err != nil {
		return err
	}
	if index.Config != nil || index.Layers != nil {
		return fmt.Errorf("%s is an index and a manifest at once", desc.Digest)
	}
	// A node looks at the best match only, and where there is none at the first
	// that does not say what it is for.
	var best, unsaid *ocispec.Descriptor
	var others []string
	matcher := platforms.Only(s.platform)
	for i := range index.Manifests {
		child := &index.Manifests[i]
		switch {
		case child.Platform == nil:
			unsaid = cmp.Or(unsaid, child)
		case matcher.Match(*child.Platform):
			if best == nil || matcher.Less(*child.Platform, *best.Platform) {
				best = child
			}
		case child.Platform.OS != "unknown": // which is a statement on an image (BuildKit)
			others = append(others, platforms.Format(*child.Platform))
		}
	}
	child := cmp.Or(best, unsaid)
	if child == nil {
		return &otherPlatform{others}
	}
	image.add(desc)
	return s.choose(ctx, image, *child, indexes+1)
}

// manifest adds a manifest with its config and layers, if a node can unpack and
// run them.
func (s *selection) manifest(ctx context.Context, image *chosen, desc ocispec.Descriptor) error {
	var manifest struct {
		ocispec.Manifest
		Manifests json.RawMessage
	}
	if err := s.read(ctx, desc, &manifest); err != nil {
		return err
	}
	if manifest.Manifests != nil {
		return fmt.Errorf("%s is an index and a manifest at once", desc.Digest)
	}
	if !images.IsConfigType(manifest.Config.MediaType) {
		return fmt.Errorf("its config is a %.100q: this is no image that can be run", manifest.Config.MediaType)
	}
	var config ocispec.Image
	if err := s.read(ctx, manifest.Config, &config); err != nil {
		return err
	}
	if config.OS != s.platform.OS || config.Architecture != s.platform.Architecture {
		return &otherPlatform{[]string{fmt.Sprintf("%.40s/%.40s", cmp.Or(config.OS, "?"), cmp.Or(config.Architecture, "?"))}}
	}
	if config.RootFS.Type != "layers" || len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return fmt.Errorf("its config names %d layers, and its manifest %d", len(config.RootFS.DiffIDs), len(manifest.Layers))
	}
	for i, layer := range manifest.Layers {
		if err := s.layer(ctx, layer, config.RootFS.DiffIDs[i]); err != nil {
			return err
		}
		image.add(layer)
	}
	image.Config = manifest.Config.Digest
	image.add(manifest.Config)
	image.add(desc)
	return nil
}

// layerTypes are those that containerd unpacks with nothing more.
var layerTypes = []string{
	ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
	images.MediaTypeDockerSchema2Layer, images.MediaTypeDockerSchema2LayerGzip, images.MediaTypeDockerSchema2LayerZstd,
}

// layer checks that a layer can be unpacked, and is then what the config names.
func (s *selection) layer(ctx context.Context, desc ocispec.Descriptor, diffID digest.Digest) error {
	if !slices.Contains(layerTypes, desc.MediaType) {
		return fmt.Errorf("its layer %s is a %.100q, which a node cannot unpack", desc.Digest, desc.MediaType)
	}
	if err := s.has(ctx, desc); err != nil {
		return err
	}
	packed, err := s.store.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer packed.Close()
	unpacked, err := decompress(ctxio.Reader(ctx, content.NewReader(packed)))
	if err != nil {
		return fmt.Errorf("its layer %s: %w", desc.Digest, err)
	}
	defer unpacked.Close()
	got, err := digest.SHA256.FromReader(unpacked)
	if err != nil {
		return fmt.Errorf("its layer %s: %w", desc.Digest, err)
	}
	if got != diffID {
		return fmt.Errorf("its layer %s unpacks to %s, and its config names %.80s: a file is damaged", desc.Digest, got, diffID)
	}
	return nil
}

// has checks that a blob is there, whose contents the store has compared with
// its digest.
func (s *selection) has(ctx context.Context, desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil || desc.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.100q: sha256:… belongs here", desc.Digest.String())
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
