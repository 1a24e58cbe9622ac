package flash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// bmapBlockBytes is the block size of what WriteBmap writes: that of bmaptool.
const bmapBlockBytes = 4096

// WriteBmap writes the map in the format of bmaptool, version 2.0
// (bmap-tools 3.6, bmaptools/BmapCreate.py). Its checksum is that of the file
// with zeros in the checksum's place.
//
// bmaptool leaves what is not in the map as it is on the disk. Zeros mean
// something in a table of a FAT and in a hash tree, so only holes of more than
// 16 MiB are left out: the free space of partition boot and what is behind a
// slot image. Write takes no chance and clears those too.
func (m *Map) WriteBmap(w io.Writer) error {
	blocks := (m.Size + bmapBlockBytes - 1) / bmapBlockBytes
	var mapped int64
	var ranges strings.Builder
	for _, r := range m.Blocks {
		first, last := r.Offset/bmapBlockBytes, (r.Offset+r.Size-1)/bmapBlockBytes
		mapped += last - first + 1
		place := fmt.Sprintf("%d-%d", first, last)
		if first == last {
			place = fmt.Sprint(first)
		}
		fmt.Fprintf(&ranges, "        <Range chksum=\"%s\"> %s </Range>\n", r.SHA256, place)
	}
	zeros := strings.Repeat("0", 2*sha256.Size)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" ?>
<!-- Block map of a disk image, for bmaptool: the blocks that are data, with
     their SHA-256. The others are not used. -->

<bmap version="2.0">
    <ImageSize> %d </ImageSize>
    <BlockSize> %d </BlockSize>
    <BlocksCount> %d </BlocksCount>
    <MappedBlocksCount> %d </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> %s </BmapFileChecksum>
    <BlockMap>
%s    </BlockMap>
</bmap>
`, m.Size, bmapBlockBytes, blocks, mapped, zeros, ranges.String())
	sum := sha256.Sum256(b.Bytes())
	_, err := w.Write(bytes.Replace(b.Bytes(), []byte(zeros), []byte(hex.EncodeToString(sum[:])), 1))
	return err
}
