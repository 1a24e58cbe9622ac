package verity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Matches tells whether the slot that r reads carries the tree with the root
// hash of p. It reads one block: the top of the tree, or the only data block
// if there is no tree. A slot that ends before that block does not match.
func Matches(r io.ReaderAt, p Params) (bool, error) {
	if err := p.check(); err != nil {
		return false, err
	}
	at := p.Tree
	if p.Blocks == 1 {
		at = p.Root
	}
	block := make([]byte, BlockSize)
	if err := readFull(r, block, at); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, err
	}
	var digest [sha256.Size]byte
	newHasher(p.Salt).sum(&digest, block)
	return digest == p.Hash, nil
}

// Damage counts blocks that do not have the hash that the block above them
// says, and names the first of them.
type Damage struct {
	Count  int64 // 0: none is damaged
	Block  int64 // number of the first, from the start of the data or of the tree
	Offset int64 // of the first, in bytes from the start of the slot
}

func (d *Damage) add(block, start int64) {
	if d.Count == 0 || block < d.Block {
		d.Block, d.Offset = block, start+block*BlockSize
	}
	d.Count++
}

// CorruptError says that a slot is not what its root hash says. One changed
// byte of data gives one damaged data block. One changed hash gives a damaged
// hash block, and the data block whose hash it was.
type CorruptError struct {
	Data, Hash Damage
}

func (e *CorruptError) Error() string {
	var parts []string
	for _, d := range []struct {
		what string
		Damage
	}{{"data", e.Data}, {"hash", e.Hash}} {
		if d.Count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s blocks are damaged, the first is block %d at byte %d of the slot",
				d.Count, d.what, d.Block, d.Offset))
		}
	}
	return strings.Join(parts, "; ")
}

// Verify reads the whole file system and its tree from the slot r and compares
// them with the root hash. It returns a *CorruptError if a block is damaged,
// and other errors if the slot cannot be read or ends too early.
func Verify(ctx context.Context, r io.ReaderAt, p Params) error {
	err := p.check()
	if err == nil {
		err = p.verify(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("verify slot: %w", err)
	}
	return nil
}

func (p *Params) verify(ctx context.Context, r io.ReaderAt) error {
	var found CorruptError
	if p.Blocks == 1 {
		one := *p
		if err := one.hashOne(r); err != nil {
			return err
		}
		if one.Hash != p.Hash {
			found.Data.add(0, p.Root)
			return &found
		}
		return nil
	}
	// From the top down. Every level says what the one below has to be, and
	// is taken at its word even if it is damaged itself: so every block that
	// was changed is found, and hardly any other.
	counts := levels(p.Blocks)
	at := offsets(counts)
	want := p.Hash[:]
	h := newHasher(p.Salt)
	for l := len(counts) - 1; l > 0; l-- {
		level := make([]byte, counts[l]*BlockSize)
		if err := readFull(r, level, p.Tree+at[l]); err != nil {
			return err
		}
		for i := range counts[l] {
			if !matches(h, level[i*BlockSize:(i+1)*BlockSize], want, i) {
				found.Hash.add(at[l]/BlockSize+i, p.Tree)
			}
		}
		want = level
	}

	var mu sync.Mutex // of found
	err := p.eachGroup(ctx, r, func(g *group) error {
		stored := make([]byte, BlockSize)
		if err := readFull(r, stored, p.Tree+at[0]+g.number*BlockSize); err != nil {
			return err
		}
		good := matches(g.hasher, stored, want, g.number)
		if good && bytes.Equal(stored, g.hashes) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if !good {
			found.Hash.add(at[0]/BlockSize+g.number, p.Tree)
		}
		for i := range g.blocks {
			from, to := i*sha256.Size, (i+1)*sha256.Size
			if !bytes.Equal(stored[from:to], g.hashes[from:to]) {
				found.Data.add(g.number*hashesPerBlock+i, p.Root)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found.Data.Count+found.Hash.Count > 0 {
		return &found
	}
	return nil
}

// matches compares the hash of a block with the one at the given place among
// those wanted.
func matches(h hasher, block, want []byte, place int64) bool {
	var digest [sha256.Size]byte
	h.sum(&digest, block)
	return bytes.Equal(digest[:], want[place*sha256.Size:(place+1)*sha256.Size])
}
