package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/containerimage/layouttest"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"
	"github.com/skerry-os/skerry/strictyaml"
)

// withArchives is a build with container images of users', and an error of the
// step that reads them.
func withArchives(t *testing.T, slot int64, archives ...string) (*build, error) {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &build{
		Options: Options{Archives: archives}, cache: c,
		board:  &board.Board{Name: "x", Architecture: "arm64", Disk: board.Disk{Slot: strictyaml.Size(slot)}},
		images: []*board.ContainerImage{{Name: "pause", Reference: "skerry.dev/pause:v1"}},
	}
	p := progress.New(os.Stderr)
	defer p.Close()
	return b, p.Run(t.Context(), b.archiveTasks())
}

func layout(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := layouttest.Write(dir, name, "arm64", []byte(strings.Repeat("program", 1000))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestImagesOfArchivesGetIntoTheRoot(t *testing.T) {
	b, err := withArchives(t, 1<<20, layout(t, "registry.example/a:v1"), layout(t, "registry.example/b:v1"))
	if err != nil {
		t.Fatal(err)
	}
	b.images = nil
	root := tree.New()
	if err := b.addContainerImages(root); err != nil {
		t.Fatal(err)
	}
	index, ok := root.Get(strings.TrimPrefix(imageseed.Folder, "/") + "/" + imageseed.IndexName)
	if !ok || !strings.Contains(string(index.Bytes), "registry.example/a:v1") {
		t.Errorf("the index is %s", index.Bytes)
	}
	list, err := b.carriedImages()
	if err != nil || len(list) != 2 || list[1].Reference != "registry.example/b:v1" {
		t.Errorf("the manifest has %v, %v", list, err)
	}
}

func TestImagesThatCannotBeAreRefusedFirst(t *testing.T) {
	same := layout(t, "registry.example/a:v1")
	for want, archives := range map[string][]string{
		"registry.example/a:v1 is in ":                   {same, layout(t, "registry.example/a:v1")},
		"skerry.dev/pause:v1 is in the board's overlays": {layout(t, "skerry.dev/pause:v1")},
		"no such file": {filepath.Join(t.TempDir(), "none.tar")},
		"and a slot of board x 1.0 kB: leave some out": {same},
	} {
		slot := int64(1 << 20)
		if strings.Contains(want, "slot") {
			slot = 1000
		}
		if _, err := withArchives(t, slot, archives...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
