package flash

import (
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	dataAlignment = 1 << 20 // where data starts behind an image: a multiple of this
	// clearBytes is where all but a few file systems have their signature.
	clearBytes = 1 << 20
	// secondSuperblock is where ext4 with blocks of 4 KiB has its first copy.
	secondSuperblock = 32768 * 4096
	// dataLabel begins the labels of data: skerry-data, and skerry-new while it
	// is being made (agent/data).
	dataLabel = "skerry-"
)

// behind looks at the place where the node will make partition data. The data of
// an earlier installation stays: flashing a node again keeps it. Signatures of
// anything else go, because the node would not touch what it recognises, and
// the person has said that all on this disk may be lost.
func (w *writer) behind(imageBytes int64) error {
	start := (imageBytes + dataAlignment - 1) / dataAlignment * dataAlignment
	if start+2*clearBytes > w.dev.Size() {
		return nil
	}
	kept, err := isData(w.dev, start)
	if err != nil {
		return fmt.Errorf("look behind the image: %w", err)
	}
	if w.result.KeptData = kept; kept {
		return nil
	}
	return clear(w.dev, start, start+clearBytes, w.ctx.Err)
}

// isData reports whether at start lies an ext4 file system that the agent takes
// over: by its superblock or, where that was lost, the second one.
func isData(dev Device, start int64) (bool, error) {
	for _, s := range []struct {
		at    int64
		group uint16
	}{{1024, 0}, {secondSuperblock, 1}} {
		b := make([]byte, 1024)
		if start+s.at+int64(len(b)) > dev.Size() {
			continue
		}
		if _, err := dev.ReadAt(b, start+s.at); err != nil {
			return false, err
		}
		if isDataSuperblock(b, s.group) {
			return true, nil
		}
	}
	return false, nil
}

// isDataSuperblock reads s_magic, s_block_group_nr and s_volume_name (Linux,
// Documentation/filesystems/ext4/super.rst).
func isDataSuperblock(b []byte, group uint16) bool {
	return binary.LittleEndian.Uint16(b[56:]) == 0xef53 && binary.LittleEndian.Uint16(b[90:]) == group &&
		strings.HasPrefix(string(b[120:136]), dataLabel)
}
