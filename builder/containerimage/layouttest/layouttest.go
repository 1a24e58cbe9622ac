// Package layouttest makes OCI image layouts for tests.
package layouttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

// Write makes a layout in a folder with one image, which has one program that it
// runs.
func Write(dir, reference, architecture string, program []byte) error {
	entries := []imageseed.Entry{{Path: "program", Mode: 0o755, Size: int64(len(program)),
		Open: func() (imageseed.Contents, error) { return imageseed.NoClose(bytes.NewReader(program)), nil }}}
	image, err := imageseed.Compose(reference, architecture, ocispec.ImageConfig{Entrypoint: []string{"/program"}}, entries)
	if err != nil {
		return err
	}
	layer, err := imageseed.NewLayer(entries)
	if err != nil {
		return err
	}
	archive, err := io.ReadAll(io.NewSectionReader(layer, 0, layer.Size()))
	if err != nil {
		return err
	}
	desc := image.Descriptor()
	desc.Annotations = map[string]string{ocispec.AnnotationRefName: reference}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc}})
	if err != nil {
		return err
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	return errors.Join(
		os.MkdirAll(blobs, 0o755),
		os.WriteFile(filepath.Join(dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(dir, ocispec.ImageIndexFile), index, 0o644),
		os.WriteFile(filepath.Join(blobs, image.ManifestDigest().Encoded()), []byte(image.Manifest), 0o644),
		os.WriteFile(filepath.Join(blobs, image.ConfigDigest().Encoded()), []byte(image.Config), 0o644),
		os.WriteFile(filepath.Join(blobs, image.Layer.Digest.Encoded()), archive, 0o644),
	)
}
