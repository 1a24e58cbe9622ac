// Package imageseed is how a node carries container images in its read-only
// root: Skerry's own unpacked, once, and ready to run without being imported;
// those of users as they came.
//
//	FOLDER/index.json           references, manifests and configs of the images
//	FOLDER/SHA256/rootfs/…      the files of the layer with this digest
//	FOLDER/blobs/SHA256         a blob of packed images
//
// An image of Skerry's (Image) has one layer, an uncompressed tar archive (OCI
// image specification v1.1, layer.md) of which only the files are stored: the
// archive is the same bytes whenever it is made of them (Layer), so its digest is
// known and its bytes are there for whoever asks. Files belong to root and have
// time 0. Packed says how the others are stored.
//
// The builder composes images and writes the folder; a node opens it (Open) and
// shows it to containerd (package imageseed/node). That the files are those of
// the digest is promised by the verified root, and checked by `builder inspect`,
// not at every start.
package imageseed

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Folder is where the root of a node has its images.
const Folder = "/usr/lib/skerry/images"

// Seed is an open folder of images.
type Seed struct {
	dir   string
	index *Index
	blobs map[digest.Digest]blob
}

// blob is where a blob's bytes are.
type blob struct {
	size     int64
	contents []byte // if they are in the index
	packed   bool   // if they are a file; else they are those of a layer
}

// Open reads the index of a folder of images. The layers are looked at when
// they are asked for.
func Open(dir string) (*Seed, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(dir, IndexName))
	if err != nil {
		return nil, fmt.Errorf("open the container images of this node: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxIndex+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	index, err := ParseIndex(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	s := &Seed{dir: dir, index: index, blobs: map[digest.Digest]blob{}}
	for i := range index.Images {
		image := &index.Images[i]
		s.blobs[image.ManifestDigest()] = inIndex(image.Manifest)
		s.blobs[image.ConfigDigest()] = inIndex(image.Config)
		s.blobs[image.Layer.Digest] = blob{size: image.Layer.Size}
	}
	for i := range index.Packed {
		for _, b := range index.Packed[i].Blobs {
			if _, ok := s.blobs[b.Digest]; !ok {
				s.blobs[b.Digest] = blob{size: b.Size, packed: true}
			}
		}
	}
	return s, nil
}

func inIndex(text string) blob { return blob{size: int64(len(text)), contents: []byte(text)} }

// Dir returns the folder, absolute.
func (s *Seed) Dir() string { return s.dir }

// Images returns the unpacked images, sorted by reference.
func (s *Seed) Images() []Image { return s.index.Images }

// Packed returns the packed images, sorted by reference.
func (s *Seed) Packed() []Packed { return s.index.Packed }

// RootFS returns the folder with the files of a layer.
func (s *Seed) RootFS(layer digest.Digest) string {
	return filepath.Join(s.dir, filepath.FromSlash(RootFS(layer)))
}

// RootFS returns where the files of a layer are in a folder of images.
func RootFS(layer digest.Digest) string { return layer.Encoded() + "/rootfs" }

// Size returns the size of a blob in bytes, and false if the seed has none with
// this digest.
func (s *Seed) Size(d digest.Digest) (int64, bool) {
	b, ok := s.blobs[d]
	return b.size, ok
}

// Digests returns the digests of all blobs, sorted.
func (s *Seed) Digests() []digest.Digest {
	digests := make([]digest.Digest, 0, len(s.blobs))
	for d := range s.blobs {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	return digests
}

// ReaderAt opens a blob and returns how many bytes it has. The layer of an
// unpacked image is put together from the names and sizes of its files now, and
// from their contents whenever some are read. The error is fs.ErrNotExist if the
// seed has nothing with this digest.
func (s *Seed) ReaderAt(d digest.Digest) (Contents, int64, error) {
	b, ok := s.blobs[d]
	switch {
	case !ok:
		return nil, 0, fmt.Errorf("container image blob %s: %w", d, os.ErrNotExist)
	case b.contents != nil:
		return NoClose(bytes.NewReader(b.contents)), b.size, nil
	case b.packed:
		file, err := openSized(filepath.Join(s.dir, filepath.FromSlash(PackedBlob(d))), b.size)
		if err != nil {
			return nil, 0, fmt.Errorf("container image blob %s: %w", d, err)
		}
		return file, b.size, nil
	}
	layer, err := s.layer(d)
	if err != nil {
		return nil, 0, err
	}
	if layer.Size() != b.size {
		return nil, 0, fmt.Errorf("container image layer %s has %d bytes in %s, and %d in the index: the files are not those that it was made of",
			d, layer.Size(), s.RootFS(d), b.size)
	}
	return NoClose(layer), b.size, nil
}

// openSized opens a file that must have size bytes.
func openSized(name string, size int64) (*os.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%s has %d bytes, and %d in the index", name, info.Size(), size)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func (s *Seed) layer(d digest.Digest) (*Layer, error) {
	entries, err := ScanDir(s.RootFS(d))
	if err != nil {
		return nil, fmt.Errorf("container image layer %s: %w", d, err)
	}
	layer, err := NewLayer(entries)
	if err != nil {
		return nil, fmt.Errorf("container image layer %s: %w", d, err)
	}
	return layer, nil
}

// Descriptor describes an image's manifest.
func (i *Image) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    i.ManifestDigest(),
		Size:      int64(len(i.Manifest)),
	}
}
