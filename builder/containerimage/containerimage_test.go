package containerimage

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
)

// rootWith returns a root with one image, and the image.
func rootWith(t *testing.T) (*tree.Tree, *imageseed.Image) {
	t.Helper()
	files, source := tree.New(), filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte(strings.Repeat("program", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		files.AddSource("program", 0o755, source),
		files.AddBytes("etc/passwd", 0o644, []byte("root:x:0:0\n")),
		files.AddSymlink("bin/sh", "../program"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := Entries(files)
	if err != nil {
		t.Fatal(err)
	}
	image, err := imageseed.Compose("skerry.dev/a:v1", "arm64", ocispec.ImageConfig{}, entries)
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&imageseed.Index{Images: []imageseed.Image{*image}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New()
	if err := Place(root, image, files); err != nil {
		t.Fatal(err)
	}
	if err := root.AddBytes(path.Join(imageseed.Folder, imageseed.IndexName), 0o644, text); err != nil {
		t.Fatal(err)
	}
	return root, image
}

func findings(root *tree.Tree, architecture string) (found []string, images int) {
	index := Check(root, architecture, func(file, format string, args ...any) {
		found = append(found, file+": "+fmt.Sprintf(format, args...))
	})
	return found, len(index.Images) + len(index.Packed)
}

func TestANodeOpensWhatTheBuilderPlaced(t *testing.T) {
	root, image := rootWith(t)
	dir := t.TempDir()
	if err := root.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	seed, err := imageseed.Open(filepath.Join(dir, imageseed.Folder))
	if err != nil {
		t.Fatal(err)
	}
	r, size, err := seed.ReaderAt(image.Layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	contents := make([]byte, size)
	if _, err := r.ReadAt(contents, 0); err != nil {
		t.Fatal(err)
	}
	if got := image.Layer.Digest.Algorithm().FromBytes(contents); got != image.Layer.Digest {
		t.Errorf("the node reads %s, and the builder made %s", got, image.Layer.Digest)
	}
}

func TestWhatIsWrongWithTheImagesOfARootIsFound(t *testing.T) {
	index := strings.TrimPrefix(path.Join(imageseed.Folder, imageseed.IndexName), "/")
	for name, test := range map[string]struct {
		change func(t *testing.T, root *tree.Tree, layer string) error
		want   string
		images int
	}{
		"nothing": {func(*testing.T, *tree.Tree, string) error { return nil }, "", 1},
		"a changed file": {func(_ *testing.T, root *tree.Tree, layer string) error {
			return root.AddBytes(layer+"/etc/passwd", 0o644, []byte("root::0:0:\n"))
		}, "It is not the layer of container image skerry.dev/a:v1", 1},
		"a changed permission": {func(_ *testing.T, root *tree.Tree, layer string) error {
			return root.AddBytes(layer+"/etc/passwd", 0o664, []byte("root:x:0:0\n"))
		}, "It is not the layer of container image skerry.dev/a:v1", 1},
		"a file too many": {func(_ *testing.T, root *tree.Tree, layer string) error {
			return root.AddBytes(layer+"/more", 0o644, nil)
		}, "It is not the layer of container image skerry.dev/a:v1", 1},
		"a folder too many": {func(_ *testing.T, root *tree.Tree, _ string) error {
			return root.AddBytes(imageseed.Folder+"/0123/rootfs/x", 0o644, nil)
		}, "No container image has it", 1},
		"a broken index": {func(_ *testing.T, root *tree.Tree, _ string) error {
			return root.AddBytes(index, 0o644, []byte("{}"))
		}, "It cannot be used", 0},
		"a link instead of the index": {func(_ *testing.T, root *tree.Tree, _ string) error {
			return root.AddSymlink(index, "/etc/shadow")
		}, "It is missing", 0},
		"an index that is too large": {func(_ *testing.T, root *tree.Tree, _ string) error {
			return root.AddBytes(index, 0o644, make([]byte, imageseed.MaxIndex+1))
		}, "It is too large", 0},
	} {
		root, image := rootWith(t)
		layer := strings.TrimPrefix(path.Join(imageseed.Folder, imageseed.RootFS(image.Layer.Digest)), "/")
		if err := test.change(t, root, layer); err != nil {
			t.Fatal(err)
		}
		found, images := findings(root, "arm64")
		if images != test.images || test.want == "" && len(found) > 0 || test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)) {
			t.Errorf("%s: %d images, %q", name, images, found)
		}
	}
	root, _ := rootWith(t)
	if found, _ := findings(root, "amd64"); len(found) != 1 || !strings.Contains(found[0], "is for arm64, and the board is amd64") {
		t.Errorf("another architecture: %q", found)
	}
	if found, images := findings(tree.New(), "arm64"); found != nil || images != 0 {
		t.Errorf("no images: %q", found)
	}
}
