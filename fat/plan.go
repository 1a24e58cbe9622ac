package fat

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

const maxFileBytes = 1<<32 - 1

// item is where a file or directory is.
type item struct {
	cluster uint32 // 0 for a file without contents
	bytes   int64
}

// plan gives the root and every directory and file its clusters, one after the
// other.
func (v *FS) plan(files []File) (map[string]item, error) {
	slots, err := countSlots(files)
	if err != nil {
		return nil, err
	}
	items := map[string]item{}
	next := int64(v.root)
	for _, f := range withRoot(files) {
		size := f.Size
		if f.Dir {
			if size = slots[f.Path] * slotBytes; size > maxDirectoryBytes {
				return nil, fmt.Errorf("directory %s has more entries than FAT allows", f.Path)
			}
		} else if size < 0 || size > maxFileBytes {
			return nil, fmt.Errorf("%s has %d bytes: FAT32 holds files of up to 4 GiB", f.Path, size)
		}
		if size == 0 {
			items[f.Path] = item{}
			continue
		}
		items[f.Path] = item{uint32(next), size}
		end := next + v.clustersFor(size)
		if end > int64(v.table.end()) {
			return nil, fmt.Errorf("%s %w in %d MiB", f.Path, ErrFull, v.table.clusters()*v.clusterBytes>>20)
		}
		for ; next < end-1; next++ {
			v.table.set(uint32(next), uint32(next)+1)
		}
		v.table.set(uint32(next), clusterMask)
		next = end
	}
	return items, nil
}

func withRoot(files []File) []File { return append([]File{{Path: ".", Dir: true}}, files...) }

// countSlots refuses what a file system cannot hold, and returns how many
// entries each directory has at most.
func countSlots(files []File) (map[string]int64, error) {
	slots := map[string]int64{".": 1} // the label
	names := map[string]bool{}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("add %q: %w", f.Path, fs.ErrInvalid)
		}
		if err := checkName(path.Base(f.Path)); err != nil {
			return nil, err
		}
		parent := path.Dir(f.Path)
		if slots[parent] == 0 {
			return nil, fmt.Errorf("add %s: directory %s does not come before it", f.Path, parent)
		}
		if names[strings.ToUpper(f.Path)] {
			return nil, fmt.Errorf("%s is there twice but for upper and lower case: rename one", f.Path)
		}
		names[strings.ToUpper(f.Path)] = true
		slots[parent] += maxSlots(path.Base(f.Path))
		if f.Dir {
			slots[f.Path] = 2 // "." and ".."
		}
	}
	return slots, nil
}

func (v *FS) clustersFor(bytes int64) int64 { return (bytes + v.clusterBytes - 1) / v.clusterBytes }

// maxSlots is how many entries a name takes at most.
func maxSlots(name string) int64 { return 1 + int64(len(name)+12)/13 }

// directories returns the contents of all directories.
func (v *FS) directories(files []File, items map[string]item, o Options) map[string][]byte {
	dir := func(cluster uint32) node { return node{attributes: attrDirectory, cluster: cluster, time: o.Time} }
	dirs := map[string][]byte{".": slotsOf(padded(o.Label), "", node{attributes: attrVolume, time: o.Time})}
	taken := map[string]map[[11]byte]bool{".": {}}
	for _, f := range files {
		p, parent := f.Path, path.Dir(f.Path)
		n := node{cluster: items[p].cluster, size: uint32(items[p].bytes), time: o.Time}
		if f.Dir {
			n = dir(n.cluster)
			up := items[parent].cluster
			if parent == "." {
				up = 0 // the root has no number here (section 6.5)
			}
			dirs[p] = append(slotsOf(padded("."), "", n), slotsOf(padded(".."), "", dir(up))...)
			taken[p] = map[[11]byte]bool{}
		}
		dirs[parent] = append(dirs[parent], named(path.Base(p), taken[parent], n)...)
	}
	return dirs
}

// named returns the entries of a new name and takes its short name.
func named(name string, taken map[[11]byte]bool, n node) []byte {
	short, needsLong := shortName(name, taken)
	taken[short] = true
	if !needsLong {
		name = ""
	}
	return slotsOf(short, name, n)
}
