package builder

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/skerry-os/skerry/builder/tree"
)

// firmwareFolders are where packages have firmware, by age.
var firmwareFolders = []string{"usr/lib/firmware", "lib/firmware"}

// addFirmware adds the firmware files that modules may ask for, as far as the
// board's firmware packages have them. Many that modules name were never published.
func (b *build) addFirmware(root *tree.Tree, names []string) error {
	for _, pkg := range b.board.Firmware {
		dir, err := b.folderOf(pkg)
		if err != nil {
			return err
		}
		if err := addFirmwareOf(root, dir, names); err != nil {
			return fmt.Errorf("firmware package %s: %w", pkg, err)
		}
	}
	return nil
}

// addFirmwareOf adds the files that an unpacked package has.
func addFirmwareOf(root *tree.Tree, dir string, names []string) error {
	inside, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, folder := range firmwareFolders {
		for _, name := range names {
			matches, err := fs.Glob(os.DirFS(filepath.Join(dir, folder)), name)
			if err != nil {
				continue // a module may name anything
			}
			for _, match := range matches {
				if err := addFirmwareFile(root, inside, folder, match); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// addFirmwareFile adds one file, following the links that firmware packages
// use for names of the same contents, as long as they stay in the package.
func addFirmwareFile(root *tree.Tree, inside *os.Root, folder, name string) error {
	file := path.Join(folder, name)
	info, err := inside.Stat(file)
	if err != nil {
		return fmt.Errorf("%w: it may be a link out of the package", err)
	}
	if !info.Mode().IsRegular() {
		return nil // a pattern may match a folder
	}
	return root.AddSource("usr/lib/firmware/"+name, 0o644, filepath.Join(inside.Name(), file))
}
