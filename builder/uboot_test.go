package builder

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/verity"
)

func TestNothingOutsideOfPartitionsOverlaps(t *testing.T) {
	blob := func(name string, at int64, n int) raw { return raw{name, at, make([]byte, n)} }
	if err := checkRaws([]raw{blob("state", 12<<20, 4096), blob("loader", 32<<10, 12<<20-32<<10)}); err != nil {
		t.Errorf("one ends where the other begins: %v", err)
	}
	err := checkRaws([]raw{blob("state", 12<<20, 4096), blob("loader", 32<<10, 12<<20-32<<10+1)})
	if err == nil || !strings.Contains(err.Error(), "loader ends at byte 12582913 of the disk, and state begins at byte 12582912") {
		t.Error(err)
	}
}

func TestARootBehindABootAreaVerifies(t *testing.T) {
	root := tree.New()
	if err := root.AddBytes("etc/hostname", 0o644, bytes.Repeat([]byte("node\n"), 10_000)); err != nil {
		t.Fatal(err)
	}
	const offset = 1 << 20
	name := filepath.Join(t.TempDir(), "slot")
	o := erofs.Options{Tree: root, UUID: uuid.NameSpaceURL, Time: rootTime, Compression: erofs.LZ4}
	if err := makeSlot(t.Context(), name, o, offset, []byte("salt")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name + ".verity")
	if err != nil {
		t.Fatal(err)
	}
	params, err := verity.ParseParams(string(text))
	if err != nil {
		t.Fatal(err)
	}
	contents, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if params.Root != offset || params.End() != int64(len(contents)) || !bytes.Equal(contents[:offset], make([]byte, offset)) {
		t.Errorf("%v, and the image has %d bytes", params, len(contents))
	}
	if err := verity.Verify(context.Background(), bytes.NewReader(contents), params); err != nil {
		t.Error(err)
	}
	// Cut off before it, the root is one that other programs read.
	cut := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(cut, contents[offset:params.Tree], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("fsck.erofs", cut).CombinedOutput(); err != nil {
		t.Errorf("fsck.erofs: %v (`make deps` installs it): %s", err, out)
	}
}

func TestOverlaysOfBoardsCompile(t *testing.T) {
	source := filepath.Join("..", "boards")
	names, err := filepath.Glob(filepath.Join(source, "*", "overlays", "*.dts"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		dir := filepath.Dir(filepath.Dir(name))
		b := &build{Options: Options{Source: ".."}, board: &board.Board{Name: filepath.Base(dir)}}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		contents, err := b.bootFile(t.Context(), board.BootFile{Source: relative})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(contents, []byte{0xd0, 0x0d, 0xfe, 0xed}) {
			t.Errorf("%s became %.8q", name, contents)
		}
	}
}
