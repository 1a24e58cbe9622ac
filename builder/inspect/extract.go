package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/tree"
)

// unpackRoot unpacks the EROFS image of size bytes below dir and returns its
// files: names and modes as the image has them, contents below dir. What is no
// file, directory or link is left out of the tree. An error says that the file
// system is damaged, or that the host cannot unpack it; the two are told apart
// by errDamaged.
func unpackRoot(ctx context.Context, image io.ReaderAt, size int64, dir string) (map[string]node, *tree.Tree, error) {
	nodes, err := readErofs(image, size)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	copied := filepath.Join(dir, "root.erofs")
	if err := copyOut(copied, io.NewSectionReader(image, 0, size)); err != nil {
		return nil, nil, err
	}
	root := filepath.Join(dir, "root")
	// Modes and owners come from nodes. Here files must only be readable. The
	// program keeps setuid bits, but nobody else gets into dir.
	cmd := exec.CommandContext(ctx, "fsck.erofs", "--extract="+root, "--no-preserve", copied)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return nil, nil, fmt.Errorf("unpack the root: %w: run `make deps`", err)
	case err != nil:
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return nil, nil, fmt.Errorf("%w: fsck.erofs: %w: %.200s", errDamaged, err, lines[0])
	}
	if err := os.Remove(copied); err != nil {
		return nil, nil, err
	}
	t := tree.New()
	for _, p := range slices.Sorted(maps.Keys(nodes)) {
		f := tree.File{Mode: nodes[p].mode}
		switch f.Mode.Type() {
		case fs.ModeDir:
		case fs.ModeSymlink:
			f.Target = nodes[p].target
		case 0:
			f.Source = filepath.Join(root, p)
		default:
			continue
		}
		if err := t.Add(p, f); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return nodes, t, nil
}

// errDamaged says that a file system cannot be read because of what it is.
var errDamaged = errors.New("the file system is damaged")

func copyOut(to string, from io.Reader) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, from); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// remove removes a folder that may hold folders without permission to write.
func remove(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(dir))
}
