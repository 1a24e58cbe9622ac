// Package containerimage puts container images into the tree of a root, and
// checks those in one. What an image is, and its bytes, are package imageseed's.
package containerimage

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strings"

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
	return inMemory{bytes.NewReader(f.Bytes)}, nil
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

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
// layer's files make the archive with its digest, and that nothing else is
// there. It returns the images and tells of what is wrong by find, with the path
// of a file and a sentence. A root without images is not wrong.
func Check(root *tree.Tree, architecture string, find func(file, format string, args ...any)) []imageseed.Image {
	folder := strings.TrimPrefix(imageseed.Folder, "/")
	if _, ok := root.Get(folder); !ok {
		return nil
	}
	name := path.Join(folder, imageseed.IndexName)
	f, ok := root.Get(name)
	if !ok || !f.Mode.IsRegular() {
		find(name, "It is missing: the node cannot use its container images.")
		return nil
	}
	if size, err := f.Size(); err != nil || size > imageseed.MaxIndex {
		find(name, "It is too large (%d bytes), or cannot be read: %v.", size, err)
		return nil
	}
	text, err := f.Read()
	if err != nil {
		find(name, "It cannot be read: %v.", err)
		return nil
	}
	index, err := imageseed.ParseIndex(text)
	if err != nil {
		find(name, "It cannot be used: %v.", err)
		return nil
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
	for _, p := range root.Paths() {
		rest, below := strings.CutPrefix(p, folder+"/")
		if below && !strings.Contains(rest, "/") && !known[rest] {
			find(p, "No container image has it.")
		}
	}
	return index.Images
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
