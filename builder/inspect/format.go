package inspect

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// forms are the forms of a disk image that have to be unpacked first, by the
// bytes that they begin with.
var forms = []struct {
	magic, command string
}{
	{"\x28\xb5\x2f\xfd", "zstd -d --sparse %s"},
	{"\xfd7zXZ\x00", "xz -dk %s"},
	{"QFI\xfb", "qemu-img convert -O raw %s image.img"},
}

// refuse refuses what is no raw disk image, with a word on what to do.
func refuse(image io.ReaderAt, size int64, path string) error {
	head := make([]byte, 8)
	if _, err := image.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, form := range forms {
		if strings.HasPrefix(string(head), form.magic) {
			return fmt.Errorf("it is not a raw disk image: unpack it first, with `"+form.command+"`", filepath.Base(path))
		}
	}
	if size < 2*alignment || size%sectorBytes != 0 {
		return fmt.Errorf("%d bytes are no disk image: is the file complete?", size)
	}
	return nil
}
