package imageseed

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxBlobs bounds a packed image.
const maxBlobs = 512

// Packed is a container image that somebody else made. Its blobs are stored as
// they are, layers compressed as they came: only so does it keep the digests by
// which it is known elsewhere, and files of other owners. A node unpacks it to its
// data.
type Packed struct {
	Reference string `json:"reference"` // as in docker.io/library/nginx:1.29
	// Target is the manifest, or the index that it was chosen from.
	Target Blob   `json:"target"`
	Type   string `json:"type"` // media type of the target
	// Config is by what the Kubernetes API calls the image's ID.
	Config digest.Digest `json:"config"`
	// Blobs are all that the image is made of on this architecture, the target
	// among them, sorted by digest.
	Blobs []Blob `json:"blobs"`
}

// Descriptor describes the target.
func (p *Packed) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: p.Type, Digest: p.Target.Digest, Size: p.Target.Size}
}

// ByDigest returns what names exactly this image, as in
// docker.io/library/nginx@sha256:….
func (p *Packed) ByDigest() string {
	named, err := reference.ParseNormalizedNamed(p.Reference)
	if err != nil {
		return "" // a reference that was checked can be read
	}
	return named.Name() + "@" + p.Target.Digest.String()
}

// Size returns how many bytes the blobs have.
func (p *Packed) Size() (bytes int64) {
	for _, b := range p.Blobs {
		bytes += b.Size
	}
	return bytes
}

// PackedBytes returns how many bytes the blobs of all packed images have. Images
// can have blobs in common.
func (x *Index) PackedBytes() (bytes int64) {
	known := map[digest.Digest]bool{}
	for _, image := range x.Packed {
		for _, b := range image.Blobs {
			if !known[b.Digest] {
				known[b.Digest] = true
				bytes += b.Size
			}
		}
	}
	return bytes
}

// PackedBlob returns where a blob of packed images is in a folder of images.
func PackedBlob(d digest.Digest) string { return PackedFolder + "/" + d.Encoded() }

// PackedFolder has the blobs of packed images, in a folder of images.
const PackedFolder = "blobs"

func (p *Packed) check() error {
	if err := CheckReference(p.Reference); err != nil {
		return err
	}
	if len(p.Blobs) > maxBlobs {
		return fmt.Errorf("it has %d blobs: there can be %d", len(p.Blobs), maxBlobs)
	}
	for i, b := range p.Blobs {
		if err := checkDigest(b.Digest); err != nil {
			return err
		}
		if b.Size < 1 || b.Size > maxLayerBytes {
			return fmt.Errorf("a blob cannot have %d bytes", b.Size)
		}
		if i > 0 && strings.Compare(p.Blobs[i-1].Digest.String(), b.Digest.String()) >= 0 {
			return errors.New("its blobs are not sorted, or one is there twice")
		}
	}
	if !slices.Contains(p.Blobs, p.Target) {
		return errors.New("its target is none of its blobs")
	}
	if !slices.ContainsFunc(p.Blobs, func(b Blob) bool { return b.Digest == p.Config }) {
		return errors.New("its config is none of its blobs")
	}
	return nil
}
