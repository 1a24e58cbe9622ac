package inspect

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/elfdeps"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/release"
	"github.com/skerry-os/skerry/verity"
)

// neededFolders are those of a root that something is mounted on or kept in
// before the node's own services start.
var neededFolders = []string{"boot", "dev", "etc", "proc", "run", "sys", "tmp", "var"}

// neededPrograms are run by the agent to make and to check partition data.
var neededPrograms = []string{"usr/sbin/mke2fs", "usr/sbin/e2fsck"}

// shells are programs that no image has, but for one made to look into.
var shells = []string{"ash", "bash", "busybox", "dash", "ksh", "sh", "zsh"}

// lateFolders are filled on a running node; links may lead there.
var lateFolders = []string{"boot", "dev", "proc", "run", "sys", "tmp", "var"}

// checkRoots unpacks the root of every slot that is intact and checks its files.
func (i *inspection) checkRoots(ctx context.Context, shown *progress.Step) error {
	for n, r := range i.Releases {
		if !r.intact {
			continue // a finding already
		}
		dir := filepath.Join(i.workDir, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		err := i.checkRoot(ctx, r, dir)
		if err := errors.Join(err, remove(dir)); err != nil {
			return err
		}
		shown.Detail("%d files, %s", r.Slot.Files, progress.Size(r.Slot.FileBytes))
	}
	return nil
}

func (i *inspection) checkRoot(ctx context.Context, r *Release, dir string) error {
	where := r.Slot.Partition
	_, slot := i.partition(where)
	size := r.params.Blocks * verity.BlockSize
	nodes, root, err := unpackRoot(ctx, io.NewSectionReader(slot, r.params.Root, size), size, dir)
	if errors.Is(err, errDamaged) {
		i.find(where, "Its files cannot be read: %v.", err)
		return nil
	}
	if err != nil {
		return err
	}
	r.Slot.Files = len(nodes)
	for n := range filesOf(nodes, func(string) bool { return true }) {
		r.Slot.FileBytes += n.size
	}
	r.Slot.ClusterBytes = storedOf(nodes, OfCluster)
	i.checkModes(where, nodes)
	i.checkNeeded(where, root)
	i.checkInit(where, root, "usr/sbin/init")
	r.Slot.Modules = i.checkModules(where, root, r.Kernel)
	i.checkLinks(where, root)
	i.checkOSRelease(where, root, r)
	i.checkShells(where, root)
	i.checkLibraries(where, root)
	images := containerimage.Check(root, r.Architecture, func(file, format string, args ...any) {
		i.find(in(where, file), format, args...)
	})
	for _, image := range images.Images {
		r.Slot.Images = append(r.Slot.Images, ContainerImage{Reference: image.Reference, Digest: image.ManifestDigest().String(), Size: image.Layer.Size})
	}
	for _, image := range images.Packed {
		r.Slot.Images = append(r.Slot.Images, ContainerImage{Reference: image.Reference, Digest: image.Target.Digest.String(), Size: image.Size(), Packed: true})
	}
	return i.checkArchitectures(ctx, where, root, r.Architecture)
}

// in names a file on a slot or in an initramfs in findings.
func in(where, name string) string { return where + ": " + name }

// checkModes looks for what a read-only root of one owner must not have.
func (i *inspection) checkModes(where string, nodes map[string]node) {
	for _, p := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[p]
		switch t := n.mode.Type(); {
		case t != 0 && t != fs.ModeDir && t != fs.ModeSymlink:
			i.find(in(where, p), "It is no file, directory or link, but %v.", n.mode)
		case t == 0 && n.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
			i.find(in(where, p), "It runs with its owner's rights (%v).", n.mode)
		case t != fs.ModeSymlink && n.mode&0o002 != 0 && n.mode&fs.ModeSticky == 0:
			i.find(in(where, p), "Everybody may write to it (%v).", n.mode)
		}
		if n.owner != 0 || n.group != 0 {
			i.find(in(where, p), "It belongs to user %d and group %d: all files belong to root.", n.owner, n.group)
		}
	}
}

// checkNeeded looks for what the agent relies on.
func (i *inspection) checkNeeded(where string, root *tree.Tree) {
	for _, name := range neededFolders {
		if f, ok := root.Get(name); !ok || !f.Mode.IsDir() {
			i.find(in(where, name), "The folder is missing: a node mounts something there.")
		}
	}
	for _, name := range neededPrograms {
		if f, ok := resolve(root, name); !ok || !f.Mode.IsRegular() || f.Mode&0o111 == 0 {
			i.find(in(where, name), "The program is missing: a node makes and checks partition data with it.")
		}
	}
}

// checkInit checks the program that the kernel, or the initramfs, starts: a
// static one, because nothing else is there yet.
func (i *inspection) checkInit(where string, files *tree.Tree, name string) {
	f, ok := resolve(files, name)
	switch {
	case !ok:
		i.find(in(where, name), "It is missing: nothing can be started.")
		return
	case !f.Mode.IsRegular() || f.Mode&0o111 == 0:
		i.find(in(where, name), "It is not an executable file (%v).", f.Mode)
		return
	}
	contents, closer, err := open(f)
	if err != nil {
		i.find(in(where, name), "It cannot be read: %v.", err)
		return
	}
	defer closer.Close()
	program, err := elf.NewFile(contents)
	if err != nil {
		i.find(in(where, name), "It is no program: %v.", err)
		return
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			i.find(in(where, name), "It is not static: its interpreter and libraries may not be there yet.")
		}
	}
}

// checkArchitectures compares every ELF file with the board. Firmware is for
// processors of its own.
func (i *inspection) checkArchitectures(ctx context.Context, where string, files *tree.Tree, want string) error {
	for _, p := range files.Paths() {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, _ := files.Get(p)
		if !f.Mode.IsRegular() || strings.HasPrefix(p, "usr/lib/firmware/") {
			continue
		}
		contents, closer, err := open(f)
		if err != nil {
			i.find(in(where, p), "It cannot be read: %v.", err)
			continue
		}
		arch, isELF, err := goarchOf(contents)
		closer.Close()
		if err != nil {
			i.find(in(where, p), "Its architecture is not known: %v.", err)
		} else if isELF && arch != want {
			i.find(in(where, p), "It is for %s, and the board is %s.", arch, want)
		}
	}
	return nil
}

// checkLinks follows every symbolic link.
func (i *inspection) checkLinks(where string, root *tree.Tree) {
	for _, p := range root.Paths() {
		f, _ := root.Get(p)
		if f.Mode.Type() != fs.ModeSymlink {
			continue
		}
		if _, ok := root.Resolve(p); ok {
			continue
		}
		target := f.Target
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(p), target)
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(target), "/"), "/")
		if !slices.Contains(lateFolders, first) {
			i.find(in(where, p), "It is a link to %s, which is not there.", f.Target)
		}
	}
}

// checkLibraries looks for what the dynamic linker would look for.
func (i *inspection) checkLibraries(where string, root *tree.Tree) {
	candidates, programs := tree.New(), []string{}
	for _, p := range root.Paths() {
		if strings.HasPrefix(p, "usr/lib/modules/") || strings.HasPrefix(p, "usr/lib/firmware/") {
			continue // thousands, and none is a program
		}
		f, _ := root.Get(p)
		if err := candidates.Add(p, f); err != nil {
			i.find(in(where, p), "It has no place: %v.", err)
		}
		if f.Mode.IsRegular() && isDynamic(f) {
			programs = append(programs, p)
		}
	}
	for _, p := range programs {
		if _, err := elfdeps.Closure(candidates, []string{p}); err != nil {
			i.find(in(where, p), "It cannot be started: %v.", err)
		}
	}
}

// isDynamic says that a file is a program or library for the dynamic linker.
func isDynamic(f tree.File) bool {
	contents, closer, err := open(f)
	if err != nil {
		return false // checkArchitectures says so
	}
	defer closer.Close()
	program, err := elf.NewFile(contents)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool {
		return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC
	})
}

// checkOSRelease compares the root with the kernel image that starts it.
func (i *inspection) checkOSRelease(where string, root *tree.Tree, r *Release) {
	const name = "etc/os-release"
	contents, err := read(root, name)
	if err != nil {
		i.find(in(where, name), "It cannot be read: %v.", err)
		return
	}
	if r.only != "" { // a boot area has none
		r.osRelease = osRelease(string(contents))
		r.Version, r.Board = r.osRelease["VERSION_ID"], r.osRelease["VARIANT_ID"]
		if _, err := release.ParseVersion(r.Version); err != nil {
			i.find(in(where, name), "It has no valid VERSION_ID: %v.", err)
		}
		if r.Default {
			i.Board, i.Version = r.Board, r.Version
		}
		return
	}
	if keys := differing(osRelease(string(contents)), r.osRelease); len(keys) > 0 {
		i.find(in(where, name), "It and the kernel image %s disagree about %s: they are not of one build.", r.Entry, strings.Join(keys, ", "))
	}
}

// checkShells notes shells: overlay debug has one on purpose.
func (i *inspection) checkShells(where string, root *tree.Tree) {
	for _, dir := range []string{"usr/bin", "usr/sbin"} {
		for _, name := range shells {
			if _, ok := root.Get(path.Join(dir, name)); ok {
				i.Notes = append(i.Notes, in(where, path.Join(dir, name))+": The image has a shell.")
			}
		}
	}
}

// resolve returns the entry at p, with links followed.
func resolve(files *tree.Tree, p string) (tree.File, bool) {
	real, ok := files.Resolve(p)
	if !ok {
		return tree.File{}, false
	}
	return files.Get(real)
}

// maxText is more than any text file that is looked into has.
const maxText = 16 << 20

// read returns the contents of a text file, with links followed.
func read(files *tree.Tree, p string) ([]byte, error) {
	f, ok := resolve(files, p)
	if !ok {
		return nil, fs.ErrNotExist
	}
	if !f.Mode.IsRegular() {
		return nil, errors.New("it is no file")
	}
	if size, err := f.Size(); err != nil || size > maxText {
		return nil, errors.Join(err, fmt.Errorf("it has %d bytes", size))
	}
	return f.Read()
}

// open opens a regular file of a tree.
func open(f tree.File) (io.ReaderAt, io.Closer, error) {
	if f.Source == "" {
		return bytes.NewReader(f.Bytes), io.NopCloser(nil), nil
	}
	file, err := os.Open(f.Source)
	return file, file, err
}
