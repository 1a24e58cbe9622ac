package cache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Kind is what the cache has of one kind: the results of one step, or a folder
// of Sub.
type Kind struct {
	Name    string `json:"name"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"` // on disk: holes do not count
}

// Usage returns what is in Steps and in folders of Sub, the largest kind first.
func (c *Cache) Usage(folders ...string) ([]Kind, error) {
	kinds := map[string]*Kind{}
	for _, folder := range append([]string{Steps}, folders...) {
		dir := filepath.Join(c.dir, folder)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			name := folder
			if folder == Steps {
				name = stepOf(e.Name())
			}
			if kinds[name] == nil {
				kinds[name] = &Kind{Name: name}
			}
			bytes, err := onDisk(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			kinds[name].Entries++
			kinds[name].Bytes += bytes
		}
	}
	sorted := []Kind{}
	for _, kind := range kinds {
		sorted = append(sorted, *kind)
	}
	slices.SortFunc(sorted, func(a, b Kind) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Name, b.Name)) })
	return sorted, nil
}

// stepOf returns the step whose result has this name: STEP-KEY.
func stepOf(name string) string {
	end := strings.LastIndexByte(name, '-')
	if end < 0 || strings.HasPrefix(name, ".") {
		return "unfinished"
	}
	return name[:end]
}

// onDisk returns how much a file or a folder takes on disk. What a build
// removes meanwhile takes nothing.
func onDisk(path string) (bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += stat.Blocks * 512 // stat(2): whatever the file system's own blocks
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return bytes, err
}
