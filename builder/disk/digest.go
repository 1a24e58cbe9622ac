package disk

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
)

// Digest returns the SHA-256 of a file. What is a hole is not read: the kernel
// takes longer to make pages of zeros than it takes to hash them.
func Digest(ctx context.Context, name string) (sum [sha256.Size]byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return sum, err
	}
	h := sha256.New()
	zeros := make([]byte, 1<<20)
	for from, size := int64(0), info.Size(); from < size; {
		start, end, err := NextData(file, from, size)
		if err != nil {
			return sum, err
		}
		if err := addZeros(ctx, h, start-from, zeros); err != nil {
			return sum, err
		}
		if err := addData(ctx, h, io.NewSectionReader(file, start, end-start)); err != nil {
			return sum, fmt.Errorf("read %s: %w", name, err)
		}
		from = end
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// addZeros adds n zeros.
func addZeros(ctx context.Context, h hash.Hash, n int64, zeros []byte) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, int64(len(zeros)))
		h.Write(zeros[:part])
		n -= part
	}
	return nil
}

// addData adds what r reads, all of which has to be there.
func addData(ctx context.Context, h hash.Hash, r *io.SectionReader) error {
	for left := r.Size(); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(h, r, min(left, chunk))
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}
