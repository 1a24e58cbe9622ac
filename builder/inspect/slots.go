package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"sync/atomic"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/verity"
)

// checkSlots finds the slot of every kernel image, as the initramfs does, and
// verifies all of it.
func (i *inspection) checkSlots(ctx context.Context, shown *progress.Step) error {
	for _, r := range i.Releases {
		if r.CommandLine == "" {
			continue // a finding already
		}
		where := r.where
		if where == "" {
			where = onBoot(path.Join(entryFolder, r.Entry))
		}
		params, err := verity.FromCommandLine(r.CommandLine)
		if err != nil {
			i.find(where, "Its command line does not say where the root is: %v.", err)
			continue
		}
		if err := i.checkSlot(ctx, shown, r, where, params); err != nil {
			return err
		}
	}
	return nil
}

// checkSlot verifies the slot that r starts.
func (i *inspection) checkSlot(ctx context.Context, shown *progress.Step, r *Release, where string, params verity.Params) error {
	for _, name := range []string{disk.SlotA, disk.SlotB} {
		p, slot := i.partition(name)
		if p == nil || r.only != "" && r.only != name {
			continue
		}
		matches, err := verity.Matches(slot, params)
		if err != nil {
			i.find(name, "It cannot be read: %v.", err)
		}
		if err != nil || !matches {
			continue
		}
		r.params = params
		r.Slot = &Slot{
			Partition: name, Size: params.End(),
			RootHash: hex.EncodeToString(params.Hash[:]), RootSize: params.Blocks * verity.BlockSize,
		}
		if end := r.areaEnd; end > params.Root {
			i.find(name, "Its boot area ends at byte %d, and its root begins at byte %d.", end, params.Root)
		}
		if params.End() > p.Size {
			i.find(name, "The command line of %s names %d bytes of it, and it has %d.", r.Entry, params.End(), p.Size)
			return nil
		}
		p.Used = params.End()
		shown.Detail("%s in %s", progress.Size(p.Used), name)
		return i.verify(ctx, shown, r, slot)
	}
	if r.only != "" {
		i.find(where, "The slot does not have its hash tree: the block at byte %d must have the hash %x, or the node finds no root.", params.Tree, params.Hash)
		return nil
	}
	i.find(where, "Neither %s nor %s has its hash tree: the block at byte %d of a slot must have the hash %x, or the node finds no root.",
		disk.SlotA, disk.SlotB, params.Tree, params.Hash)
	return nil
}

// verify reads the slot twice: for the hash tree, and for the digest that the
// manifest has.
func (i *inspection) verify(ctx context.Context, shown *progress.Step, r *Release, slot *io.SectionReader) error {
	counted := &counter{r: slot, total: 2 * r.Slot.Size, shown: shown}
	err := verity.Verify(ctx, counted, r.params)
	var corrupt *verity.CorruptError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &corrupt):
		i.find(r.Slot.Partition, "It is not what its root hash says: %v. Its files were not looked at.", corrupt)
	case err != nil:
		i.find(r.Slot.Partition, "It cannot be verified: %v.", err)
	default:
		r.intact = true
	}
	sum := sha256.New()
	if err := copyContext(ctx, sum, io.NewSectionReader(counted, 0, r.Slot.Size)); err != nil {
		return fmt.Errorf("read %s: %w", r.Slot.Partition, err)
	}
	r.Slot.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// counter shows how far the reading of a slot is.
type counter struct {
	r           io.ReaderAt
	done, shows atomic.Int64
	total       int64
	shown       *progress.Step
}

func (c *counter) ReadAt(b []byte, at int64) (int, error) {
	n, err := c.r.ReadAt(b, at)
	done := c.done.Add(int64(n))
	// Only now and then: this is called for every block.
	if last := c.shows.Load(); done-last > 4<<20 && c.shows.CompareAndSwap(last, done) {
		c.shown.Bytes(min(done, c.total), c.total)
	}
	return n, err
}

// copyContext copies until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	b := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(b)
		if _, e := w.Write(b[:n]); e != nil {
			return e
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
