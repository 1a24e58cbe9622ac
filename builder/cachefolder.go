package builder

import (
	"github.com/skerry-os/skerry/builder/cache"
)

// Folders of the cache besides that of the steps.
const (
	debianFolder  = "debian"
	modulesFolder = "modules"
)

// CacheFolders are all that cache.Usage shows and cache.Prune can empty: what
// comes from mirrors, and the decompressed modules of kernels.
var CacheFolders = []string{debianFolder + "/deb", debianFolder + "/index", debianFolder + "/release", debianFolder + "/tmp", modulesFolder}

// AgingFolders are those of them, and of the steps, whose entries have the time
// of their last use. The others are small, or asked for again anyway.
var AgingFolders = []string{cache.Steps, debianFolder + "/deb", modulesFolder}

// FindCache returns the cache in dir, or the user's if that is empty. It makes none.
func FindCache(dir string) (*cache.Cache, error) {
	dir, err := cacheDir(dir)
	if err != nil {
		return nil, err
	}
	return cache.OpenExisting(dir)
}

func cacheDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return cache.DefaultDir()
}
