package verity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// ReaderWriterAt is a slot image that is being made.
type ReaderWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// Append hashes the size bytes of slot from offset root on and writes the hash
// tree behind them. root and size are multiples of BlockSize. It uses all
// processors and memory of 1/16384 of size.
func Append(ctx context.Context, slot ReaderWriterAt, root, size int64, salt []byte) (Params, error) {
	p := Params{Root: root, Blocks: size / BlockSize, Tree: root + size, Salt: salt}
	if size%BlockSize != 0 {
		return Params{}, fmt.Errorf("make hash tree: file system has %d bytes: pad it to a multiple of %d", size, BlockSize)
	}
	if err := p.check(); err != nil {
		return Params{}, fmt.Errorf("make hash tree: %w", err)
	}
	if err := p.build(ctx, slot); err != nil {
		return Params{}, fmt.Errorf("make hash tree: %w", err)
	}
	return p, nil
}

func (p *Params) build(ctx context.Context, slot ReaderWriterAt) error {
	if p.Blocks == 1 {
		return p.hashOne(slot)
	}
	counts := levels(p.Blocks)
	at := offsets(counts)
	// The lowest level takes nearly all the time. Its blocks are written as
	// they are ready; their own hashes are the contents of the level above.
	hashes := make([]byte, counts[0]*sha256.Size)
	err := p.eachGroup(ctx, slot, func(g *group) error {
		if _, err := slot.WriteAt(g.hashes, p.Tree+at[0]+g.number*BlockSize); err != nil {
			return err
		}
		var digest [sha256.Size]byte
		g.sum(&digest, g.hashes)
		copy(hashes[g.number*sha256.Size:], digest[:])
		return nil
	})
	if err != nil {
		return err
	}
	h := newHasher(p.Salt)
	for l := 1; l < len(counts); l++ {
		level := make([]byte, counts[l]*BlockSize)
		copy(level, hashes)
		if _, err := slot.WriteAt(level, p.Tree+at[l]); err != nil {
			return err
		}
		hashes = make([]byte, counts[l]*sha256.Size)
		var digest [sha256.Size]byte
		for i := range counts[l] {
			h.sum(&digest, level[i*BlockSize:(i+1)*BlockSize])
			copy(hashes[i*sha256.Size:], digest[:])
		}
	}
	copy(p.Hash[:], hashes)
	return nil
}

func (p *Params) hashOne(slot io.ReaderAt) error {
	block := make([]byte, BlockSize)
	if err := readFull(slot, block, p.Root); err != nil {
		return err
	}
	newHasher(p.Salt).sum(&p.Hash, block)
	return nil
}

// group is what one hash block of the lowest level covers: up to 128 data
// blocks and their hashes.
type group struct {
	hasher
	number int64
	blocks int64  // data blocks, fewer than 128 in the last group
	data   []byte // room for 128 blocks
	hashes []byte // one hash block, zero behind the last hash
}

// eachGroup reads and hashes all groups on all processors, and calls do for
// each, in no order.
func (p *Params) eachGroup(ctx context.Context, r io.ReaderAt, do func(*group) error) error {
	count := (p.Blocks + hashesPerBlock - 1) / hashesPerBlock
	workers := min(int64(runtime.GOMAXPROCS(0)), count)
	eg, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		eg.Go(func() error {
			g := &group{
				hasher: newHasher(p.Salt),
				data:   make([]byte, hashesPerBlock*BlockSize),
				hashes: make([]byte, BlockSize),
			}
			// Neighbours at the same time, so that the disk sees one stream.
			for g.number = w; g.number < count; g.number += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := p.hashGroup(r, g); err != nil {
					return err
				}
				if err := do(g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return eg.Wait()
}

func (p *Params) hashGroup(r io.ReaderAt, g *group) error {
	first := g.number * hashesPerBlock
	g.blocks = min(p.Blocks-first, hashesPerBlock)
	if err := readFull(r, g.data[:g.blocks*BlockSize], p.Root+first*BlockSize); err != nil {
		return err
	}
	clear(g.hashes)
	var digest [sha256.Size]byte
	for i := range g.blocks {
		g.sum(&digest, g.data[i*BlockSize:(i+1)*BlockSize])
		copy(g.hashes[i*sha256.Size:], digest[:])
	}
	return nil
}

// readFull reads all of b. A slot that ends early is an error.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d of the slot: %w", len(b), at, err)
}
