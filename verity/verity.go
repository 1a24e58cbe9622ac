// Package verity makes and checks dm-verity hash trees, and writes and reads
// the kernel command line's parameter that says where one is and what its root
// hash is (Linux, admin-guide/device-mapper/verity; hash format version 1,
// SHA-256, blocks of 4096 bytes).
//
// Trees have no superblock. All it could say stands on the command line, which
// is part of the signed kernel image; a second place could only disagree.
//
// Loading the device-mapper table is left to others.
package verity

import (
	"crypto/sha256"
	"hash"
)

const (
	// BlockSize is the size of data and hash blocks in bytes.
	BlockSize = 4096

	hashesPerBlock = BlockSize / sha256.Size
)

// levels returns the number of hash blocks of every level of a tree, that of
// the lowest first. One data block has no tree: its hash is the root hash.
func levels(blocks int64) []int64 {
	var counts []int64
	for blocks > 1 {
		blocks = (blocks + hashesPerBlock - 1) / hashesPerBlock
		counts = append(counts, blocks)
	}
	return counts
}

// offsets returns where the levels of a tree are, relative to its start, the
// lowest first. On disk the top comes first.
func offsets(counts []int64) []int64 {
	at, offsets := int64(0), make([]int64, len(counts))
	for l := len(counts) - 1; l >= 0; l-- {
		offsets[l] = at
		at += counts[l] * BlockSize
	}
	return offsets
}

// TreeSize returns the size in bytes of the hash tree of so many data blocks.
func TreeSize(blocks int64) int64 {
	sum := int64(0)
	for _, n := range levels(blocks) {
		sum += n * BlockSize
	}
	return sum
}

// hasher computes block hashes: of the salt followed by the block.
type hasher struct {
	salt []byte
	h    hash.Hash
}

func newHasher(salt []byte) hasher { return hasher{salt, sha256.New()} }

// sum puts the hash of a block into digest.
func (h hasher) sum(digest *[sha256.Size]byte, block []byte) {
	h.h.Reset()
	h.h.Write(h.salt)
	h.h.Write(block)
	h.h.Sum(digest[:0])
}
