package containerimage

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/ctxio"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/packing"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

const (
	// maxUnpacked bounds what an archive and a layer have when they are
	// decompressed, in bytes: far more than fits into a slot.
	maxUnpacked = 8 << 30
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
// Each blob has its digest, and each layer unpacks to what the config names:
// what a node would refuse is refused here.
func Unpack(ctx context.Context, name, dir, architecture string) (*Archive, error) {
	a, err := unpack(ctx, name, dir, architecture)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

func unpack(ctx context.Context, name, dir, architecture string) (*Archive, error) {
	store, err := local.NewStore(dir)
	if err != nil {
		return nil, err
	}
	file, err := openArchive(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stream, err := decompress(ctxio.Reader(ctx, file))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	top, err := archive.ImportIndex(ctx, store, stream)
	if errors.Is(err, tar.ErrHeader) {
		return nil, fmt.Errorf("this is no archive as docker save writes it: %w", err)
	}
	if err != nil {
		return nil, err
	}
	s := &selection{store: store, platform: ocispec.Platform{OS: "linux", Architecture: architecture}}
	made, err := s.images(ctx, top)
	if err != nil {
		return nil, err
	}
	// Limits of what a node reads.
	if _, err := (&imageseed.Index{Packed: made}).Encode(); err != nil {
		return nil, err
	}
	if err := removeOthers(dir, made); err != nil {
		return nil, err
	}
	return &Archive{Images: made, dir: dir}, nil
}

// decompress returns what r has, decompressed if it is compressed in a way that
// nodes know, and no more than maxUnpacked bytes of it.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	head, err := in.Peek(packing.HeadBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch form := packing.Detect(head); form {
	case packing.Gzip:
		out, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		return &bounded{out, maxUnpacked}, nil
	case packing.Zstd:
		out, err := zstd.NewReader(in)
		if err != nil {
			return nil, err
		}
		return &bounded{out.IOReadCloser(), maxUnpacked}, nil
	case packing.XZ, packing.Bzip2:
		return nil, fmt.Errorf("it is compressed by %s: decompress it first; gzip and zstd are read as they are", form)
	}
	return &bounded{io.NopCloser(in), maxUnpacked}, nil
}

// bounded ends with an error where more is read than may be there.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("there are more than %d bytes when it is decompressed", int64(maxUnpacked))
	}
	return n, err
}

// Digest returns what stands for the contents of an archive or a folder that
// Unpack reads.
func Digest(ctx context.Context, name string) (string, error) {
	layout, err := isLayout(name)
	if err != nil {
		return "", err
	}
	if layout {
		contents := tree.New()
		if err := contents.AddHostDir(name); err != nil {
			return "", err
		}
		return contents.Digest()
	}
	sum, err := disk.Digest(ctx, name)
	return hex.EncodeToString(sum[:]), err
}

// isLayout tells whether a name is that of an OCI image layout, and not of a
// file (OCI image specification v1.1, image-layout.md).
func isLayout(name string) (bool, error) {
	info, err := os.Stat(name)
	if err != nil {
		return false, err
	}
	if info.Mode().IsRegular() {
		return false, nil
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%s is neither a file nor a folder: it has to be read twice", name)
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
