package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/release"
)

const (
	// firstBytes is what is written last: the partition table and, on boards
	// that have them there, the boot programs outside of the partitions.
	firstBytes = 1 << 20
	// lastBytes of that are the very last write: MBR and GPT header. Without
	// them nothing finds the rest.
	lastBytes = 4096
	// tailBytes of the image's end are written next to last: the backup GPT, which
	// takes 33 sectors, is in them.
	tailBytes = 2 * unitBytes
	syncBytes = 64 << 20 // written between two calls of Sync
)

// Options say what else is wanted of a disk that is written.
type Options struct {
	// Config makes the node config out of the one the image has, nil if none.
	// A nil Config leaves the image's.
	Config   func(old []byte) ([]byte, error)
	Modified time.Time // of the node config
	Digests  bool      // of the whole image and of its file
	Blocks   bool      // for WriteBmap
	Progress *progress.Progress
}

// Result says what was done.
type Result struct {
	Map      *Map
	KeptData bool // behind the image lies the data of an earlier installation
}

// UnfinishedError says that writing ended early. The disk does not start.
type UnfinishedError struct {
	Err error
	// NotCleared is why the first block could not be made zero; nil if it is.
	NotCleared error
}

func (e *UnfinishedError) Error() string {
	cause := e.Err
	if errors.Is(cause, context.Canceled) {
		cause = errors.New("interrupted")
	}
	if e.NotCleared != nil {
		return fmt.Sprintf("%v: the disk is in pieces, and its first block could not be cleared (%v): flash it again before it is used", cause, e.NotCleared)
	}
	return fmt.Sprintf("%v: the first block of the disk is zero, so nothing starts from it: flash it again", cause)
}

func (e *UnfinishedError) Unwrap() error { return e.Err }

// Write writes the image to the disk, reads it back, and puts the node config
// in. An error that is no *UnfinishedError left the disk as it was.
func Write(ctx context.Context, dev Device, image *Image, o Options) (*Result, error) {
	if image.Size > dev.Size() {
		return nil, tooSmall(dev, image.Size)
	}
	w := &writer{ctx: ctx, dev: dev, image: image, o: o}
	if err := w.run(); err != nil {
		if !w.touched {
			return nil, err
		}
		// The context may have ended: this must be done all the same.
		_, first := dev.WriteAt(make([]byte, len(w.first.data)), 0)
		_, tail := dev.WriteAt(make([]byte, len(w.tail.data)), w.tail.at)
		return nil, &UnfinishedError{err, errors.Join(first, tail, dev.Sync())}
	}
	return &w.result, nil
}

func tooSmall(dev Device, size int64) error {
	if size == 0 {
		return fmt.Errorf("the image does not fit on it: it has %s: use a larger disk", progress.Size(dev.Size()))
	}
	return fmt.Errorf("it has %s, the image %s: use a larger disk", progress.Size(dev.Size()), progress.Size(size))
}

// writer is one disk being written.
type writer struct {
	ctx     context.Context
	dev     Device
	image   *Image
	o       Options
	touched bool // the disk is not what it was
	first   part // the first block, held back
	tail    part // the end of its data, held back: the backup GPT
	at      int64
	written int64
	result  Result
}

func (w *writer) run() error {
	if err := w.step("write", w.write); err != nil {
		return err
	}
	view := &overlay{dev: w.dev, held: []part{w.first, w.tail}}
	if err := w.step("verify", func(s *progress.Step) error { return w.verify(s, view) }); err != nil {
		return err
	}
	if w.o.Config != nil {
		if err := w.step("node config", func(s *progress.Step) error { return w.config(view) }); err != nil {
			return err
		}
	}
	return w.step("partition table", func(*progress.Step) error { return w.finish() })
}

func (w *writer) step(name string, run func(*progress.Step) error) error {
	s := w.o.Progress.Step(name)
	err := run(s)
	s.End(err)
	if w.ctx.Err() != nil && err != nil {
		return w.ctx.Err()
	}
	return err
}

// write writes all but the first block and the end of the data. Reading, unpacking
// and hashing go on while the disk is busy.
func (w *writer) write(s *progress.Step) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	const ahead = 3
	chunks, free := make(chan chunk, ahead), make(chan []byte, ahead+2)
	for range cap(free) {
		free <- make([]byte, chunkBytes)
	}
	m := newMapper(w.image, MapOptions{Digests: w.o.Digests, Blocks: w.o.Blocks})
	var size int64
	var readErr error
	go func() {
		defer close(chunks)
		size, readErr = w.image.chunks(ctx, w.dev.Size(), func(c chunk) ([]byte, error) {
			m.add(c)
			select {
			case chunks <- c:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			select {
			case b := <-free:
				return b, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}()
	err := w.consume(s, chunks, free)
	cancel()
	for range chunks { // until the reader has ended
	}
	switch {
	case err != nil:
		return err
	case errors.Is(readErr, errTooLarge):
		return tooSmall(w.dev, 0)
	case readErr != nil:
		return readErr
	}
	if w.result.Map, err = m.finish(size); err != nil {
		return err
	}
	if !w.touched {
		return errNoTable
	}
	if err := w.clearTo(size); err != nil {
		return err
	}
	if err := w.behind(size); err != nil {
		return err
	}
	s.Detail("%s of %s, %s/s", progress.Size(w.written), progress.Size(size),
		progress.Size(int64(float64(w.written)/max(s.Elapsed().Seconds(), 1e-3))))
	return w.dev.Sync()
}

var errNoTable = errors.New("the image has no partition table: is it a disk image?")

func (w *writer) consume(s *progress.Step, chunks <-chan chunk, free chan<- []byte) error {
	data := w.image.dataBytes()
	var last *chunk
	for c := range chunks {
		if !w.touched {
			if err := w.begin(&c); err != nil {
				return err
			}
		}
		if last != nil {
			if err := w.put(*last); err != nil {
				return err
			}
			free <- last.data[:cap(last.data)]
		}
		last = &c
		total := data
		if total == 0 {
			total = w.image.total(w.written)
		}
		s.Bytes(w.written, max(total, w.written))
	}
	if last == nil {
		return nil
	}
	return w.hold(*last)
}

// hold writes the last chunk but for its end, which is held back.
func (w *writer) hold(c chunk) error {
	end := c.runs[len(c.runs)-1].to
	cut := max(0, end-tailBytes)
	body := chunk{at: c.at, data: c.data}
	for _, r := range c.runs {
		if r.from < cut {
			body.runs = append(body.runs, run{r.from, min(r.to, cut)})
		}
	}
	if err := w.put(body); err != nil {
		return err
	}
	from, to := max(c.at+int64(cut), w.first.end()), c.at+int64(end)
	if from < to {
		w.tail = part{from, bytes.Clone(c.data[from-c.at : to-c.at])}
	}
	return w.clearTo(to)
}

// begin takes the first block out of the first chunk, and makes the disk one
// that nothing starts from: first block and backup GPT become zero.
func (w *writer) begin(c *chunk) error {
	if c.at != 0 || len(c.data) < sectorBytes || c.data[510] != 0x55 || c.data[511] != 0xaa {
		return errNoTable
	}
	w.first = part{0, make([]byte, min(firstBytes, w.dev.Size()))}
	w.touched = true
	if _, err := w.dev.WriteAt(make([]byte, len(w.first.data)), 0); err != nil {
		return fmt.Errorf("clear the first block: %w", err)
	}
	if err := w.clearBackup(); err != nil {
		return err
	}
	w.at = w.first.end()
	return w.dev.Sync()
}

// clearBackup clears the header of a GPT in the disk's last sector. Firmware, a
// kernel, or the agent on a board with an MBR would believe it.
func (w *writer) clearBackup() error {
	for _, sector := range []int64{512, 4096} {
		at := w.dev.Size() - sector
		b := make([]byte, 8)
		if at < firstBytes {
			continue
		}
		if _, err := w.dev.ReadAt(b, at); err != nil {
			return fmt.Errorf("read the last sector: %w: is the disk smaller than it says?", err)
		}
		if string(b) != "EFI PART" {
			continue
		}
		if _, err := w.dev.WriteAt(make([]byte, sectorBytes), at); err != nil {
			return fmt.Errorf("clear the backup partition table: %w", err)
		}
	}
	return nil
}

// keepFirst holds back what of a chunk is in the first block.
func (w *writer) keepFirst(c chunk) {
	if c.at < w.first.end() {
		copy(w.first.data[c.at:], c.data)
	}
}

// put writes a chunk, but for the first block.
func (w *writer) put(c chunk) error {
	w.keepFirst(c)
	for _, r := range c.runs {
		from, to := max(c.at+int64(r.from), w.first.end()), c.at+int64(r.to)
		if from >= to {
			continue
		}
		if err := w.clearTo(from); err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if _, err := w.dev.WriteAt(c.data[from-c.at:to-c.at], from); err != nil {
			return fmt.Errorf("write at %d: %w", from, err)
		}
		before := w.written
		w.at, w.written = to, w.written+to-from
		if before/syncBytes != w.written/syncBytes {
			if err := w.dev.Sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// clearTo clears the hole before a place.
func (w *writer) clearTo(to int64) error {
	if err := clear(w.dev, w.at, to, w.ctx.Err); err != nil {
		return err
	}
	w.at = max(w.at, to)
	return nil
}

// verify reads back every range, what is held back aside, and compares digests.
func (w *writer) verify(s *progress.Step, view *overlay) error {
	if err := w.dev.Uncache(); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	b := make([]byte, chunkBytes)
	var done int64
	for _, r := range w.result.Map.Ranges {
		h := sha256.New()
		for at := r.Offset; at < r.Offset+r.Size; {
			if err := w.ctx.Err(); err != nil {
				return err
			}
			n := min(r.Offset+r.Size-at, chunkBytes)
			if _, err := view.ReadAt(b[:n], at); err != nil {
				return fmt.Errorf("read back at %d: %w", at, err)
			}
			h.Write(b[:n])
			at, done = at+n, done+n
			s.Bytes(done, w.result.Map.Bytes())
		}
		if release.Digest(h.Sum(nil)) != r.SHA256 {
			return differs(r.Offset, int(r.Size))
		}
	}
	s.Detail("%s in %d ranges", progress.Size(done), len(w.result.Map.Ranges))
	return nil
}

// config puts the node config on partition boot and reads it back.
func (w *writer) config(view *overlay) error {
	size := w.result.Map.Size
	want, err := disk.EditBootFile(view, size, nodeconfig.FileName, w.o.Config, w.o.Modified)
	if err == nil {
		err = errors.Join(w.dev.Sync(), w.dev.Uncache())
	}
	if err == nil {
		err = view.verifyWrites()
	}
	if err != nil {
		return fmt.Errorf("put the node config on partition boot: %w", err)
	}
	if got, err := disk.ReadBootFile(view, size, nodeconfig.FileName); err != nil || !bytes.Equal(got, want) {
		return errors.Join(errors.New("put the node config on partition boot: it is not there when it is read back"), err)
	}
	return w.ctx.Err()
}

// finish writes what was held back, the first sectors at the very end. From
// here on an interruption is too late.
func (w *writer) finish() error {
	front := min(lastBytes, len(w.first.data))
	for _, p := range []part{w.tail, {int64(front), w.first.data[front:]}, {0, w.first.data[:front]}} {
		if len(p.data) == 0 {
			continue
		}
		if _, err := w.dev.WriteAt(p.data, p.at); err != nil {
			return fmt.Errorf("write at %d: %w", p.at, err)
		}
		if err := w.dev.Sync(); err != nil {
			return err
		}
	}
	if err := w.dev.Uncache(); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	for _, p := range []part{w.first, w.tail} {
		got := make([]byte, len(p.data))
		if _, err := w.dev.ReadAt(got, p.at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read back at %d: %w", p.at, err)
		}
		if !bytes.Equal(got, p.data) {
			return differs(p.at, len(p.data))
		}
	}
	return nil
}
