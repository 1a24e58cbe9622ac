package inspect

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/skerry-os/skerry/builder/packing"
)

// unpacking are the commands that unpack images that are not raw.
var unpacking = map[packing.Form]string{
	packing.Zstd:  "zstd -d --sparse %s",
	packing.XZ:    "xz -dk %s",
	packing.QCOW2: "qemu-img convert -O raw %s image.img",
}

// refuse refuses what is no raw disk image, with a word on what to do.
func refuse(image io.ReaderAt, size int64, path string) error {
	head := make([]byte, 8)
	if _, err := image.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if command, ok := unpacking[packing.Detect(head)]; ok {
		return fmt.Errorf("it is not a raw disk image: unpack it first, with `"+command+"`", filepath.Base(path))
	}
	if size < 2*alignment || size%sectorBytes != 0 {
		return fmt.Errorf("%d bytes are no disk image: is the file complete?", size)
	}
	return nil
}
