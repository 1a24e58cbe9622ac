package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// chunk is how much is copied between two looks at the context.
const chunk = 16 << 20

// Copy makes dst a copy of the file src, with the same holes. An existing dst
// is an error; an incomplete one is removed.
func Copy(ctx context.Context, dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	err = out.Truncate(info.Size())
	if err == nil {
		err = copyData(ctx, out, 0, in, info.Size())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		os.Remove(dst)
		return fmt.Errorf("copy %s to %s: %w", src, dst, err)
	}
	return nil
}

// copyData copies the first size bytes of src that are not holes to dst, which
// has holes or zeros there, at the given offset.
func copyData(ctx context.Context, dst *os.File, at int64, src *os.File, size int64) error {
	for from := int64(0); from < size; {
		start, end, err := NextData(src, from, size)
		if err != nil {
			return err
		}
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := copyRange(dst, at+start, src, start, min(end-start, chunk))
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("%s became shorter while it was copied: %w", src.Name(), io.ErrUnexpectedEOF)
			}
			start += n
		}
		from = end
	}
	return nil
}

// copyBytes copies through memory, for systems and file systems that cannot
// copy by themselves. Zeros are not written: dst has them already.
func copyBytes(dst *os.File, to int64, src *os.File, from, size int64) (int64, error) {
	block := make([]byte, min(size, 64<<10))
	zeros := make([]byte, len(block))
	for done := int64(0); ; {
		n, err := src.ReadAt(block[:min(size-done, int64(len(block)))], from+done)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := dst.WriteAt(block[:n], to+done); err != nil {
				return done, err
			}
		}
		done += int64(n)
		if err == io.EOF || done == size {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}
