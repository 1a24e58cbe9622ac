package blockdev

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// ReadPartUUIDs returns the unique GUIDs of the partitions in a disk's GPT by
// partition number, lower case. Kernels before 6.14 do not say them in sysfs,
// and the firmware names the partition it booted from by its GUID.
//
// It reads the primary table, or the backup in the disk's last sector (UEFI
// 2.10 section 5.3), and does not check their sums: the answer is a hint for
// choosing between disks, not a reason to trust one.
func ReadPartUUIDs(disk io.ReaderAt, sizeBytes int64, sectorBytes int) (map[int]string, error) {
	sector := int64(sectorBytes)
	for _, at := range []int64{sector, (sizeBytes/sector - 1) * sector} {
		header := make([]byte, 92)
		if _, err := disk.ReadAt(header, at); err != nil {
			return nil, fmt.Errorf("read GPT header: %w", err)
		}
		first := int64(binary.LittleEndian.Uint64(header[72:]))
		count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
		if !bytes.Equal(header[:8], []byte("EFI PART")) || size != 128 || count > 1024 ||
			first < 2 || first > sizeBytes/sector {
			continue
		}
		entries := make([]byte, int(count*size))
		if _, err := disk.ReadAt(entries, first*sector); err != nil {
			return nil, fmt.Errorf("read GPT entries: %w", err)
		}
		uuids := map[int]string{}
		for i := range int(count) {
			entry := entries[i*128:][:128]
			if !uniform(entry[:16], 0) {
				uuids[i+1] = guid(entry[16:32])
			}
		}
		return uuids, nil
	}
	return nil, nil
}

// guid prints a GUID as GPT stores it: the first three fields little endian.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b),
		binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}
