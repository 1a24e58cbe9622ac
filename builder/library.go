package builder

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/skerry-os/skerry/builder/disk"
)

// Modules whose code makes bytes of artifacts. A step whose own code changes
// its results gets another version in its cache.NewKey; what these make changes
// with their versions.
const (
	libraryZstd = "github.com/klauspost/compress"
	libraryCpio = "github.com/u-root/u-root"
	libraryGPT  = "github.com/diskfs/go-diskfs"
	// Of archives without manifests, these make them.
	libraryImages = "github.com/containerd/containerd/v2"
)

// libraries returns the versions of modules in this program, for the key of a
// step that uses them. The program of a test records none.
func libraries(paths ...string) (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Deps) == 0 {
		return "not recorded", nil
	}
	return versionsOf(info.Deps, paths)
}

func versionsOf(deps []*debug.Module, paths []string) (string, error) {
	var versions []string
	for _, path := range paths {
		version := ""
		for _, dep := range deps {
			if dep.Path != path {
				continue
			}
			if dep.Replace != nil {
				dep = dep.Replace
			}
			version = dep.Path + " " + dep.Version + " " + dep.Sum
		}
		if version == "" {
			return "", fmt.Errorf("module %s makes bytes of images and is not part of this program: is it another one now?", path)
		}
		versions = append(versions, version)
	}
	return strings.Join(versions, "\n"), nil
}

// ownProgram is the digest of this program, for what is made anew by each build
// while something is known of it from an earlier one: a program that makes other
// bytes must not take its word.
func ownProgram(ctx context.Context) (string, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	sum, err := disk.Digest(ctx, name)
	return hex.EncodeToString(sum[:]), err
}
