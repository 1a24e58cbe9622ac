package imageseed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// IndexName is the file with the index in a folder of images.
	IndexName = "index.json"
	// MaxIndex is the size in bytes of the largest index that is read.
	MaxIndex = 8 << 20
	// format is the version of the index. Whoever reads one is of the same
	// release as who wrote it.
	format = 2
	// maxImages bounds an index.
	maxImages = 256
)

// Index lists the images of a folder.
type Index struct {
	Format int      `json:"format"`
	Images []Image  `json:"images"`           // sorted by reference
	Packed []Packed `json:"packed,omitempty"` // sorted by reference; none of Images
}

// Image is a container image. The manifest and the config are kept as they are:
// their bytes have the digests by which the image is known.
type Image struct {
	Reference string `json:"reference"` // as in skerry.dev/pause:v1
	Manifest  string `json:"manifest"`  // OCI image manifest, JSON
	Config    string `json:"config"`    // OCI image config, JSON
	Layer     Blob   `json:"layer"`     // an uncompressed archive
}

// Blob is what manifests and indexes name by its digest.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // in bytes
}

// ManifestDigest returns what the image is known by.
func (i *Image) ManifestDigest() digest.Digest { return digest.SHA256.FromString(i.Manifest) }

// ConfigDigest returns what the Kubernetes API calls the image's ID.
func (i *Image) ConfigDigest() digest.Digest { return digest.SHA256.FromString(i.Config) }

// ParseIndex reads an index. It is strict: what it returns is complete, and
// manifests, configs and layers agree with each other.
func ParseIndex(text []byte) (*Index, error) {
	if len(text) > MaxIndex {
		return nil, fmt.Errorf("an index of images has at most %d bytes", MaxIndex)
	}
	index := new(Index)
	if err := decode(text, index, true); err != nil {
		return nil, err
	}
	if index.Format != format {
		return nil, fmt.Errorf("the index of images has format %d, and this program reads %d: they are not of one release", index.Format, format)
	}
	return index, index.check()
}

// Encode returns the index as it is stored, the images sorted.
func (x *Index) Encode() ([]byte, error) {
	sorted := &Index{Format: format, Images: slices.Clone(x.Images), Packed: slices.Clone(x.Packed)}
	slices.SortFunc(sorted.Images, func(a, b Image) int { return strings.Compare(a.Reference, b.Reference) })
	slices.SortFunc(sorted.Packed, func(a, b Packed) int { return strings.Compare(a.Reference, b.Reference) })
	if err := sorted.check(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(sorted, "", "  ")
	return append(text, '\n'), err
}

func (x *Index) check() error {
	if n := len(x.Images) + len(x.Packed); n > maxImages {
		return fmt.Errorf("an index of %d images: there can be %d", n, maxImages)
	}
	sizes := map[digest.Digest]int64{}
	of := func(reference string, blobs ...Blob) error {
		for _, b := range blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				return fmt.Errorf("image %.200q: its blob %s has another size in another image", reference, b.Digest)
			}
			sizes[b.Digest] = b.Size
		}
		return nil
	}
	known := map[string]bool{}
	for i := range x.Images {
		image := &x.Images[i]
		known[image.Reference] = true
		if err := image.check(); err != nil {
			return fmt.Errorf("image %.200q: %w", image.Reference, err)
		}
		if i > 0 && x.Images[i-1].Reference >= image.Reference {
			return fmt.Errorf("image %.200q: the images are not sorted, or it is there twice", image.Reference)
		}
		if err := of(image.Reference, image.Layer); err != nil {
			return err
		}
	}
	for i := range x.Packed {
		image := &x.Packed[i]
		if err := image.check(); err != nil {
			return fmt.Errorf("image %.200q: %w", image.Reference, err)
		}
		if i > 0 && x.Packed[i-1].Reference >= image.Reference || known[image.Reference] {
			return fmt.Errorf("image %.200q: the images are not sorted, or it is there twice", image.Reference)
		}
		if err := of(image.Reference, image.Blobs...); err != nil {
			return err
		}
	}
	return nil
}

func (i *Image) check() error {
	if err := CheckReference(i.Reference); err != nil {
		return err
	}
	if err := checkDigest(i.Layer.Digest); err != nil {
		return err
	}
	if i.Layer.Size < 2*blockSize || i.Layer.Size > maxLayerBytes {
		return fmt.Errorf("a layer cannot have %d bytes", i.Layer.Size)
	}
	var manifest ocispec.Manifest
	if err := decode([]byte(i.Manifest), &manifest, false); err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	var config ocispec.Image
	if err := decode([]byte(i.Config), &config, false); err != nil {
		return fmt.Errorf("its config: %w", err)
	}
	switch {
	case manifest.SchemaVersion != 2 || manifest.MediaType != ocispec.MediaTypeImageManifest:
		return errors.New("its manifest is of another kind than an OCI image's")
	case manifest.Config.MediaType != ocispec.MediaTypeImageConfig,
		manifest.Config.Digest != i.ConfigDigest(), manifest.Config.Size != int64(len(i.Config)):
		return errors.New("its manifest names another config")
	case len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != ocispec.MediaTypeImageLayer,
		manifest.Layers[0].Digest != i.Layer.Digest, manifest.Layers[0].Size != i.Layer.Size:
		return errors.New("its manifest names other layers than the one that it has")
	case config.RootFS.Type != "layers" || len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != i.Layer.Digest:
		return errors.New("its config names other layers than the one that it has")
	case config.OS != "linux" || config.Architecture == "":
		return fmt.Errorf("its config is for %.40q on %.40q", config.OS, config.Architecture)
	}
	return nil
}

// CheckReference tells whether an image can have the reference: with the
// registry's name and a tag, as containerd stores it.
func CheckReference(s string) error {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return fmt.Errorf("reference %.200q: %w", s, err)
	}
	if _, tagged := named.(reference.NamedTagged); !tagged || named.String() != s || !reference.IsNameOnly(reference.TrimNamed(named)) {
		return fmt.Errorf("reference %.200q: registry, name and tag belong here, as in skerry.dev/pause:v1", s)
	}
	if _, digested := named.(reference.Digested); digested {
		return fmt.Errorf("reference %.200q: a digest does not belong here", s)
	}
	return nil
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %.100q: sha256:… belongs here", string(d))
	}
	return nil
}

// decode reads one JSON document and nothing behind it.
func decode(text []byte, into any, strict bool) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if strict {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read JSON: there is more behind its end")
	}
	return nil
}

// Architecture returns what the image is for, in Go's words, as in arm64.
func (i *Image) Architecture() string {
	var config ocispec.Image
	if err := decode([]byte(i.Config), &config, false); err != nil {
		return "" // a config that was checked can be read
	}
	return config.Architecture
}
