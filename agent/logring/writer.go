package logring

import (
	"bytes"
	"log/slog"
	"sync"
)

// Writer turns a stream, such as a service's output, into entries: one for
// each line. A line longer than MaxLine becomes several entries, and all but
// the last say that they go on.
type Writer struct {
	ring   *Ring
	source string
	level  slog.Level

	// OnLine, if set before the first Write, is called with each line as well.
	OnLine func(line string)

	mu      sync.Mutex
	partial []byte
}

// continued marks an entry whose line goes on in the next one.
const continued = " … [goes on]"

// pieceBytes leaves room for the mark.
const pieceBytes = MaxLine - len(continued)

// Writer returns a writer whose lines get this source and level.
func (r *Ring) Writer(source string, level slog.Level) *Writer {
	return &Writer{ring: r, source: source, level: level}
}

// Write never fails. What follows the last newline waits for the rest of its
// line, for Close, or until it is too long to wait.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.partial = append(w.partial, p...)
			w.flushLong()
			break
		}
		if len(w.partial) == 0 && end <= MaxLine {
			w.line(string(p[:end]))
		} else {
			w.partial = append(w.partial, p[:end]...)
			w.flushLong()
			w.flush()
		}
		p = p[end+1:]
	}
	return n, nil
}

// flushLong gives away pieces of a line that is too long for one entry.
func (w *Writer) flushLong() {
	for len(w.partial) > MaxLine {
		n := runeStart(string(w.partial[:pieceBytes+1]), pieceBytes)
		w.line(string(w.partial[:n]) + continued)
		w.partial = append(w.partial[:0], w.partial[n:]...)
	}
}

func (w *Writer) flush() {
	w.line(string(w.partial))
	// A long line must not hold memory for the writer's life.
	if cap(w.partial) > MaxLine {
		w.partial = nil
	}
	w.partial = w.partial[:0]
}

func (w *Writer) line(text string) {
	w.ring.Add(w.source, w.level, text)
	if w.OnLine != nil {
		w.OnLine(cut(Clean(text)))
	}
}

// Close logs a line that did not end.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.flush()
	}
	return nil
}
