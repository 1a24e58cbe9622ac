package distribution

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem waits until the file system of a folder is on the disk: one
// call for hundreds of files.
func syncFileSystem(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return unix.Syncfs(int(folder.Fd()))
}
