package localstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// longestName is what a file system takes as the name of a folder, in bytes.
const longestName = 255

// folders are those of the volumes. No link leads out of them: what Pods put
// into a volume is never followed.
type folders struct {
	dir  string
	root *os.Root
}

func openFolders(dir string) (*folders, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of volumes: %w", err)
	}
	return &folders{dir: dir, root: root}, nil
}

func (f *folders) close() { f.root.Close() }

// folderName names a volume's folder so that a person finds the data of a
// claim: pvc-UID_NAMESPACE_NAME, as Rancher's local-path-provisioner does.
func folderName(volume, namespace, claim string) string {
	name := volume + "_" + namespace + "_" + claim
	return name[:min(len(name), longestName)]
}

// create makes a folder that any user of a Pod can write to, and returns its
// path once a power cut would leave it there. One that is there already is
// the same: its name has the claim's UID.
func (f *folders) create(name string) (string, error) {
	if err := f.root.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	status, err := f.root.Lstat(name)
	if err != nil {
		return "", err
	}
	if !status.IsDir() {
		return "", fmt.Errorf("%s is no folder: move it away", filepath.Join(f.dir, name))
	}
	// The umask took some of the mode.
	if err := f.root.Chmod(name, 0o777); err != nil {
		return "", err
	}
	return filepath.Join(f.dir, name), f.sync()
}

// remove deletes the folder of a volume with all that is in it.
func (f *folders) remove(volume, path string) error {
	name := filepath.Base(path)
	if filepath.Join(f.dir, name) != path || !strings.HasPrefix(name, volume+"_") {
		return fmt.Errorf("%s is not a folder that was made for it in %s: delete the folder and the PersistentVolume by hand", path, f.dir)
	}
	if err := f.root.RemoveAll(name); err != nil {
		return err
	}
	return f.sync()
}

func (f *folders) sync() error {
	self, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer self.Close()
	return self.Sync()
}
