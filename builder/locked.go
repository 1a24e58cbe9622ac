package builder

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/debian"
	"github.com/skerry-os/skerry/release"
)

// lockedPackages reads the packages recorded in the manifest of an earlier
// build, and the name of the one with the kernel. It refuses a manifest that
// lacks a package which the board, with its overlays, names: an image that
// silently does without its firmware would be found out in the field.
func lockedPackages(file string, want *board.Board) (packages []debian.Package, kernel string, err error) {
	contents, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	manifest, err := release.ParseManifest(file, contents)
	if err != nil {
		return nil, "", err
	}
	if manifest.Board != want.Name || manifest.Architecture != want.Architecture {
		return nil, "", fmt.Errorf("%s records the packages of board %s (%s), and this build is for %s (%s)",
			file, manifest.Board, manifest.Architecture, want.Name, want.Architecture)
	}
	// Both are the same JSON: the manifest is all that a repetition needs.
	text, err := json.Marshal(manifest.Packages)
	if err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(text, &packages); err != nil {
		return nil, "", err
	}
	recorded := map[string]bool{}
	var kernels, missing []string
	for _, p := range packages {
		if recorded[p.Name] {
			return nil, "", fmt.Errorf("%s records package %s twice: take the manifest as the build wrote it", file, p.Name)
		}
		recorded[p.Name] = true
		if strings.HasPrefix(p.Name, kernelPrefix) {
			kernels = append(kernels, p.Name)
		}
	}
	for _, name := range slices.Concat(namedPackages(want), sysrootPackages(want)) {
		if !recorded[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, "", fmt.Errorf("%s lacks %s, which this build needs: that build had the overlays %s; build with the same, or without --locked",
			file, strings.Join(missing, ", "), strings.Join(manifest.Overlays, ", "))
	}
	if len(kernels) != 1 {
		return nil, "", fmt.Errorf("%s records %d packages %s…, and one is needed: build without --locked", file, len(kernels), kernelPrefix)
	}
	return packages, kernels[0], nil
}

// namedPackages returns the packages that a board names, each once. The one
// with the kernel is not among them: the board names one that depends on it.
func namedPackages(b *board.Board) []string {
	names := append(b.Bootloader.Packages(), b.Firmware...)
	for _, program := range b.Programs {
		names = append(names, program.Package)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isProgram tells whether programs are taken from a package, and not only files.
func isProgram(b *board.Board, pkg string) bool {
	return slices.ContainsFunc(b.Programs, func(p board.Program) bool { return p.Package == pkg })
}
