package imageseed

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compose makes an image of the files of its only layer. The same arguments
// give the same digests; the image has no time.
func Compose(ref, architecture string, config ocispec.ImageConfig, entries []Entry) (*Image, error) {
	if err := CheckReference(ref); err != nil {
		return nil, err
	}
	layer, err := NewLayer(entries)
	if err != nil {
		return nil, err
	}
	sum, err := layer.Digest()
	if err != nil {
		return nil, err
	}
	configText, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{Architecture: architecture, OS: "linux"},
		Config:   config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{sum}},
	})
	if err != nil {
		return nil, err
	}
	manifestText, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig,
			Digest:    digest.SHA256.FromBytes(configText),
			Size:      int64(len(configText)),
		},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: sum, Size: layer.Size()}},
	})
	if err != nil {
		return nil, err
	}
	image := &Image{Reference: ref, Manifest: string(manifestText), Config: string(configText),
		Layer: Blob{Digest: sum, Size: layer.Size()}}
	return image, image.check()
}
