// Package containerimage puts container images into the tree of a root, and
// checks those in one. What an image is, and its bytes, are package imageseed's.
package containerimage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

// Entries returns a tree as the entries of a layer.
func Entries(files *tree.Tree) ([]imageseed.Entry, error) {
	var entries []imageseed.Entry
	for _, p := range files.Paths() {
		f, _ := files.Get(p)
		entry := imageseed.Entry{Path: p, Mode: f.Mode, Target: f.Target}
		if f.Mode.IsRegular() {
			var err error
			if entry.Size, err = f.Size(); err != nil {
				return nil, err
			}
			entry.Open = func() (imageseed.Contents, error) { return open(f) }
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func open(f tree.File) (imageseed.Contents, error) {
	if f.Source != "" {
		return os.Open(f.Source)
	}
	return imageseed.NoClose(bytes.NewReader(f.Bytes)), nil
}

// Place adds the files of an image's layer to a root, where a node looks for
// them. Images can have the same layer.
func Place(root *tree.Tree, image *imageseed.Image, files *tree.Tree) error {
	at := path.Join(imageseed.Folder, imageseed.RootFS(image.Layer.Digest))
	if err := root.AddDir(at, 0o755); err != nil {
		return err
	}
	for _, p := range files.Paths() {
		f, _ := files.Get(p)
		if err := root.Add(path.Join(at, p), f); err != nil {
			return err
		}
	}
	return nil
}

// Check looks at the images in a root: that their index can be read, that every
// layer's files make the archive with its digest, that every blob has its own,
// and that nothing else is there. It returns the index and tells of what is
// wrong by find, with the path of a file and a sentence. A root without images is
// not wrong.
func Check(root *tree.Tree, architecture string, find func(file, format string, args ...any)) *imageseed.Index {
	folder := strings.TrimPrefix(imageseed.Folder, "/")
	if _, ok := root.Get(folder); !ok {
		return &imageseed.Index{}
	}
	name := path.Join(folder, imageseed.IndexName)
	f, ok := root.Get(name)
	if !ok || !f.Mode.IsRegular() {
		find(name, "It is missing: the node cannot use its container images.")
		return &imageseed.Index{}
	}
	if size, err := f.Size(); err != nil || size > imageseed.MaxIndex {
		find(name, "It is too large (%d bytes), or cannot be read: %v.", size, err)
		return &imageseed.Index{}
	}
	text, err := f.Read()
	if err != nil {
		find(name, "It cannot be read: %v.", err)
		return &imageseed.Index{}
	}
	index, err := imageseed.ParseIndex(text)
	if err != nil {
		find(name, "It cannot be used: %v.", err)
		return &imageseed.Index{}
	}
	known := map[string]bool{imageseed.IndexName: true}
	for i := range index.Images {
		image := &index.Images[i]
		known[image.Layer.Digest.Encoded()] = true
		if of := image.Architecture(); of != architecture {
			find(name, "Container image %s is for %s, and the board is %s.", image.Reference, of, architecture)
		}
		at := path.Join(folder, imageseed.RootFS(image.Layer.Digest))
		if err := checkLayer(root, at, image); err != nil {
			find(at, "It is not the layer of container image %s: %v.", image.Reference, err)
		}
	}
	for i := range index.Packed {
		image := &index.Packed[i]
		known[imageseed.PackedFolder] = true
		for _, b := range image.Blobs {
			at := imageseed.PackedBlob(b.Digest)
			if known[at] {
				continue // of another image too
			}
			known[at] = true
			if err := checkBlob(root, path.Join(folder, at), b); err != nil {
				find(path.Join(folder, at), "It is not what container image %s needs: %v.", image.Reference, err)
			}
		}
		if of, err := platformIn(root, path.Join(folder, imageseed.PackedBlob(image.Config))); err != nil {
			find(name, "The config of container image %s cannot be read: %v.", image.Reference, err)
		} else if want := "linux/" + architecture; of != want {
			find(name, "Container image %s is for %s, and the board is %s.", image.Reference, of, want)
		}
	}
	for _, p := range root.Paths() {
		rest, below := strings.CutPrefix(p, folder+"/")
		parts := strings.Split(rest, "/")
		if below && (len(parts) == 1 || parts[0] == imageseed.PackedFolder) && !known[rest] {
			find(p, "No container image has it.")
		}
	}
	return index
}

// platformIn reads from the config of an image what it is for.
func platformIn(root *tree.Tree, at string) (string, error) {
	f, ok := root.Get(at)
	if !ok {
		return "", errors.New("it is missing")
	}
	if size, err := f.Size(); err != nil || size > maxDocument {
		return "", errors.Join(fmt.Errorf("it has %d bytes: a config has at most %d", size, maxDocument), err)
	}
	text, err := f.Read()
	if err != nil {
		return "", err
	}
	var config ocispec.Image
	err = json.Unmarshal(text, &config)
	return config.OS + "/" + config.Architecture, err
}

// checkBlob compares a file with the digest by which it is known.
func checkBlob(root *tree.Tree, at string, b imageseed.Blob) error {
	f, ok := root.Get(at)
	if !ok || !f.Mode.IsRegular() {
		return errors.New("it is missing")
	}
	if size, err := f.Size(); err != nil || size != b.Size {
		return errors.Join(fmt.Errorf("it has %d bytes, and the index says %d", size, b.Size), err)
	}
	contents, err := f.Open()
	if err != nil {
		return err
	}
	defer contents.Close()
	digest, err := b.Digest.Algorithm().FromReader(contents)
	if err != nil {
		return err
	}
	if digest != b.Digest {
		return fmt.Errorf("its contents are those of %s", digest)
	}
	return nil
}

func checkLayer(root *tree.Tree, at string, image *imageseed.Image) error {
	files := tree.New()
	for _, p := range root.Paths() {
		if rest, below := strings.CutPrefix(p, at+"/"); below {
			f, _ := root.Get(p)
			if err := files.Add(rest, f); err != nil {
				return err
			}
		}
	}
	entries, err := Entries(files)
	if err != nil {
		return err
	}
	layer, err := imageseed.NewLayer(entries)
	if err != nil {
		return err
	}
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	if digest != image.Layer.Digest || layer.Size() != image.Layer.Size {
		return fmt.Errorf("its files make %s of %d bytes, and the index says %s of %d",
			digest, layer.Size(), image.Layer.Digest, image.Layer.Size)
	}
	return nil
}
