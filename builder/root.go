package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/elfdeps"
	"github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/hosttool"
	"github.com/skerry-os/skerry/builder/inspect"
	"github.com/skerry-os/skerry/builder/kernel"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/verity"
)

// agentNames are the names that the agent's program answers to on a node,
// besides init; see cmd/agent.
var agentNames = []string{"halt", "heartbeat", "modprobe", "mount", "poweroff", "reboot", "umount"}

// mountPoints are the empty folders of a root on which something is mounted.
var mountPoints = []string{"boot", "dev", "mnt", "proc", "run", "sys", "tmp", "var"}

// rootTime is the time of all files in a root: the same in every release, so
// that one which did not change has the same bytes.
var rootTime = time.Unix(0, 0)

// namespace is what identifiers of file systems and partitions are derived
// from: they must be the same in every build of a board.
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://skerry.dev/"))

// extractModules decompresses the kernel's modules.
func (b *build) extractModules(ctx context.Context, shown *progress.Step) error {
	dir, err := b.folderOf(b.kernelPackage)
	if err != nil {
		return err
	}
	if b.kernel, err = kernel.Open(dir); err != nil {
		return err
	}
	sub, err := b.cache.Sub(modulesFolder)
	if err != nil {
		return err
	}
	if b.modules, err = b.kernel.Extract(ctx, sub); err != nil {
		return err
	}
	shown.Detail("kernel %s", b.kernel.Release)
	return nil
}

// selectModules returns the modules that module lists name.
func (b *build) selectModules(lists []string) (*kernel.Selection, error) {
	var entries [][]string
	for _, name := range lists {
		list, err := board.LoadModuleList(os.DirFS(b.Source), name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, list.For(b.board.Architecture))
	}
	return b.modules.Select(entries...)
}

// makeRoot makes the slot image: root file system and hash tree.
func (b *build) makeRoot(ctx context.Context, shown *progress.Step) error {
	root, err := b.rootTree()
	if err != nil {
		return err
	}
	digest, err := root.Digest()
	if err != nil {
		return err
	}
	if b.erofsVersion, err = erofs.Version(ctx); err != nil {
		return err
	}
	tool, err := hosttool.Fingerprint(ctx, erofs.Program)
	if err != nil {
		return err
	}
	id := uuid.NewSHA1(namespace, []byte("root "+b.board.Name))
	compression := erofs.LZ4
	if b.Release {
		compression = erofs.LZ4HC
	}
	salt := uuid.NewSHA1(namespace, []byte("verity salt "+b.board.Name))
	key := cache.NewKey("slot", 3).Add("tree", digest).Add("tool", tool).Add("uuid", id.String()).
		Add("compression", string(compression)).Add("salt", salt.String())
	offset := rootOffset(b.board)
	if offset > 0 {
		key.Add("offset", fmt.Sprint(offset))
	}
	b.slot, err = b.file(ctx, shown, "slot", key, func(path string) error {
		return makeSlot(ctx, path, erofs.Options{Tree: root, UUID: id, Time: rootTime, Compression: compression}, offset, salt[:])
	})
	if err != nil {
		return err
	}
	params, err := os.ReadFile(b.slot.Path + ".verity")
	if err != nil {
		return err
	}
	if b.verity, err = verity.ParseParams(string(params)); err != nil {
		return err
	}
	if limit := b.board.Disk.Slot.Bytes(); size(b.slot.Path) > limit {
		return fmt.Errorf("the slot image has %s and a slot of board %s only %s: leave something out, or make slots larger in board.yaml",
			progress.Size(size(b.slot.Path)), b.board.Name, progress.Size(limit))
	}
	cluster, err := clusterBytes(b.slot.Path, offset, b.verity.Blocks*verity.BlockSize)
	if err != nil {
		return err
	}
	shown.Detail("%d files, %s, the cluster's %s of it", len(root.Paths()), progress.Size(size(b.slot.Path)), progress.Size(cluster))
	return nil
}

// clusterBytes returns what the cluster's files take of a slot image whose file
// system has length bytes from an offset on.
func clusterBytes(name string, offset, length int64) (int64, error) {
	slot, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer slot.Close()
	return inspect.Stored(io.NewSectionReader(slot, offset, length), length, inspect.OfCluster)
}

// makeSlot writes a root file system with its hash tree behind it to path, at an
// offset before which is a hole, and the parameters of the tree to path.verity.
func makeSlot(ctx context.Context, path string, o erofs.Options, offset int64, salt []byte) error {
	o.Output, o.WorkDir = path, filepath.Dir(path)
	length, err := erofs.Make(ctx, o)
	if err != nil {
		return err
	}
	if offset > 0 {
		if err := shift(path, offset); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	params, err := verity.Append(ctx, file, offset, length, salt)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".verity", []byte(params.String()), 0o644); err != nil {
		return err
	}
	return file.Close()
}

// shift moves the contents of a file up.
func shift(path string, offset int64) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	return create(path, func(w io.Writer) error {
		if _, err := w.(io.Seeker).Seek(offset, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, in)
		return err
	})
}

// rootTree puts together what the root file system holds.
func (b *build) rootTree() (*tree.Tree, error) {
	root := tree.New()
	for _, overlay := range b.overlays {
		if err := addOverlay(root, filepath.Join(b.Source, "overlays", overlay.Name, "root")); err != nil {
			return nil, fmt.Errorf("overlay %s: %w", overlay.Name, err)
		}
	}
	// What /bin links to has to exist, even where nothing is in it.
	for _, name := range append([]string{"root", "usr/bin", "usr/lib64"}, mountPoints...) {
		if err := root.AddDir(name, 0o755); err != nil {
			return nil, err
		}
	}
	if err := b.addAgent(root); err != nil {
		return nil, err
	}
	for i, program := range b.board.Go {
		if err := root.AddSource(program.File, 0o755, b.compiled[i].Path); err != nil {
			return nil, err
		}
	}
	if err := b.addPrograms(root); err != nil {
		return nil, err
	}
	if err := b.addContainerImages(root); err != nil {
		return nil, err
	}
	selection, err := b.selectModules(b.board.Modules.Root)
	if err != nil {
		return nil, err
	}
	modules, err := selection.Tree()
	if err != nil {
		return nil, err
	}
	if err := root.Merge(modules); err != nil {
		return nil, err
	}
	if err := b.addFirmware(root, selection.Firmware()); err != nil {
		return nil, err
	}
	if err := root.AddBytes("usr/lib/os-release", 0o644, b.osRelease()); err != nil {
		return nil, err
	}
	return root, root.AddSymlink("etc/os-release", "../usr/lib/os-release")
}

// addOverlay adds an overlay's files, if it has any.
func addOverlay(root *tree.Tree, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return root.AddHostDir(dir)
}

func (b *build) addAgent(root *tree.Tree) error {
	if err := root.AddSource("usr/sbin/init", 0o755, b.agent); err != nil {
		return err
	}
	for _, name := range agentNames {
		if err := root.AddSymlink("usr/sbin/"+name, "init"); err != nil {
			return err
		}
	}
	return nil
}

// addPrograms adds the programs of board and overlays with the libraries they
// need, out of the unpacked packages.
func (b *build) addPrograms(root *tree.Tree) error {
	candidates := tree.New()
	for _, p := range b.packages {
		if p.Name == b.kernelPackage || slices.Contains(b.board.Firmware, p.Name) {
			continue // thousands of files, and no program
		}
		if slices.Contains(sysrootPackages(b.board), p.Name) && !isProgram(b.board, p.Name) {
			continue // for the compiler, not for the image
		}
		if err := elfdeps.AddPackage(candidates, b.unpacked[p.Name]); err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	var paths []string
	for _, program := range b.board.Programs {
		paths = append(paths, program.Files...)
	}
	closure, err := elfdeps.Closure(candidates, paths)
	if err != nil {
		return err
	}
	return root.Merge(closure)
}

// osRelease returns os-release(5). SKERRY_BUILD_TIME is what the node's clock
// starts from when nothing newer is known.
func (b *build) osRelease() []byte {
	var text strings.Builder
	for _, field := range [][2]string{
		{"ID", "skerry"},
		{"NAME", "Skerry"},
		{"PRETTY_NAME", "Skerry " + b.Version},
		{"VERSION_ID", b.Version},
		{"VARIANT_ID", b.board.Name},
		{"BUILD_ID", b.commit.Hash},
		{"SKERRY_BUILD_TIME", fmt.Sprint(b.commit.Time.Unix())},
	} {
		fmt.Fprintf(&text, "%s=%q\n", field[0], field[1])
	}
	return []byte(text.String())
}
