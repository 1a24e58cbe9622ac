package elfdeps

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/skerry-os/skerry/builder/tree"
)

// merged are the folders that are links into usr on a merged-usr system.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// AddPackage adds what a Debian package was unpacked to, a folder of this
// machine, to files of others, as it is on a merged-usr system.
func AddPackage(files *tree.Tree, dir string) error {
	own := tree.New()
	if err := own.AddHostDir(dir); err != nil {
		return err
	}
	merged, err := MergeUsr(own)
	if err != nil {
		return err
	}
	return files.Merge(merged)
}

// MergeUsr returns t as it is on a merged-usr system: what packages ship below
// bin, sbin, lib and lib64 stands below usr, and those four are links. It
// fails when a package has a file in both places.
func MergeUsr(t *tree.Tree) (*tree.Tree, error) {
	out := tree.New()
	for _, dir := range merged {
		if err := out.AddSymlink(dir, "usr/"+dir); err != nil {
			return nil, err
		}
	}
	for _, p := range t.Paths() {
		f, _ := t.Get(p)
		to := usrPath(p)
		if to != p && !strings.Contains(p, "/") && (f.Mode.Type() == fs.ModeSymlink || f.Mode.IsDir()) {
			continue // one of the four itself
		}
		if old, ok := out.Get(to); ok && !(old.Mode.IsDir() && f.Mode.IsDir()) {
			return nil, fmt.Errorf("merge /%s into /usr: %s is there twice", path.Dir(p), to)
		}
		if err := out.Add(to, f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// usrPath returns where a path of a package is on a merged-usr system.
func usrPath(p string) string {
	top, _, _ := strings.Cut(p, "/")
	for _, dir := range merged {
		if top == dir {
			return "usr/" + p
		}
	}
	return p
}
