package flash

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Device is the disk that is written.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Size() int64 // in bytes
	// Sync returns when all that was written is on the medium.
	Sync() error
	// Zero has the device make a range zero by itself, which it does at once
	// and wears nothing out. It reports false if it cannot.
	Zero(at, size int64) (bool, error)
	// Uncache has later reads come from the device, not from memory.
	Uncache() error
}

// clear makes a range zero. What the device cannot do by itself is read, and
// only what is not zero is written: flash media read several times as fast as
// they write, and most of what is cleared was never used.
func clear(dev Device, from, to int64, check func() error) error {
	if from >= to {
		return nil
	}
	if done, err := dev.Zero(from, to-from); err != nil {
		return fmt.Errorf("clear %d bytes at %d: %w", to-from, from, err)
	} else if done {
		return nil
	}
	b, zeros := make([]byte, min(to-from, chunkBytes)), make([]byte, unitBytes)
	for at := from; at < to; at += int64(len(b)) {
		if err := check(); err != nil {
			return err
		}
		b = b[:min(to-at, int64(len(b)))]
		if _, err := dev.ReadAt(b, at); err != nil {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		for _, r := range scan(b) {
			for n := r.from; n < r.to; n += unitBytes {
				if _, err := dev.WriteAt(zeros[:min(unitBytes, r.to-n)], at+int64(n)); err != nil {
					return fmt.Errorf("write at %d: %w", at+int64(n), err)
				}
			}
		}
	}
	return nil
}

// part is a part of the image that is held back in memory.
type part struct {
	at   int64
	data []byte
}

func (p part) end() int64 { return p.at + int64(len(p.data)) }

// overlay is the disk as it will be: with what is held back. It keeps a record
// of what is written through it.
type overlay struct {
	dev    Device
	held   []part
	writes []part
}

func (o *overlay) ReadAt(b []byte, at int64) (int, error) {
	n, err := o.dev.ReadAt(b, at)
	for _, p := range o.held {
		if from, to := max(at, p.at), min(at+int64(n), p.end()); from < to {
			copy(b[from-at:to-at], p.data[from-p.at:])
		}
	}
	return n, err
}

func (o *overlay) WriteAt(b []byte, at int64) (int, error) {
	end := at + int64(len(b))
	for _, p := range o.held {
		from, to := max(at, p.at), min(end, p.end())
		if from >= to {
			continue
		}
		copy(p.data[from-p.at:], b[from-at:to-at])
		if from > at {
			if _, err := o.WriteAt(b[:from-at], at); err != nil {
				return 0, err
			}
		}
		if to < end {
			if _, err := o.WriteAt(b[to-at:], to); err != nil {
				return 0, err
			}
		}
		return len(b), nil
	}
	o.writes = append(o.writes, part{at, bytes.Clone(b)})
	return o.dev.WriteAt(b, at)
}

// verifyWrites reads back what was written through the overlay.
func (o *overlay) verifyWrites() error {
	for n, w := range o.writes {
		got := make([]byte, len(w.data))
		if _, err := o.dev.ReadAt(got, w.at); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		want := bytes.Clone(w.data)
		for _, later := range o.writes[n+1:] {
			if from, to := max(w.at, later.at), min(w.end(), later.end()); from < to {
				copy(want[from-w.at:to-w.at], later.data[from-later.at:])
			}
		}
		if !slices.Equal(got, want) {
			return differs(w.at, len(w.data))
		}
	}
	return nil
}

// differs says that the medium did not keep what was written.
func differs(at int64, size int) error {
	return fmt.Errorf("read back: the %d bytes at %d are not what was written: the disk is broken, or smaller than it says: use another one", size, at)
}
