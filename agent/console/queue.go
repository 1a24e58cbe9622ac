package console

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// maxPending is how much text waits for a slow console, in bytes: a minute of a
// line at 9600 baud.
const maxPending = 64 << 10

// queue writes text to one console without ever keeping its caller waiting. A
// line whose other end has stopped it holds back one goroutine and maxPending
// bytes; what comes then is lost, and the reader is told how much once the line
// moves again.
type queue struct {
	wake chan struct{} // something is to be written

	mu      sync.Mutex
	pending []byte
	lost    int // lines
	busy    bool
	broken  bool
	idle    []chan struct{} // closed when nothing is pending
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put adds lines.
func (q *queue) put(lines ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken {
		return
	}
	for _, line := range lines {
		if len(q.pending)+len(line)+1 > maxPending {
			q.lost++
			continue
		}
		q.pending = append(append(q.pending, line...), '\n')
	}
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be written now, or nil.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	text := q.pending
	q.pending = nil
	if q.lost > 0 {
		text = fmt.Appendf(text, "skerry: console: %d lines lost here, the console was too slow\n", q.lost)
		q.lost = 0
	}
	q.busy = len(text) > 0
	if !q.busy {
		q.rest()
	}
	return text
}

// rest tells those who wait that all is written. The caller holds the lock.
func (q *queue) rest() {
	for _, c := range q.idle {
		close(c)
	}
	q.idle = nil
}

// fail gives the console up.
func (q *queue) fail() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken, q.busy, q.pending = true, false, nil
	q.rest()
}

// flush waits until all that was put is written, or ctx ends.
func (q *queue) flush(ctx context.Context) {
	q.mu.Lock()
	if q.broken || !q.busy && len(q.pending) == 0 {
		q.mu.Unlock()
		return
	}
	done := make(chan struct{})
	q.idle = append(q.idle, done)
	q.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// write writes everything pending to w, until nothing is.
func (q *queue) write(w io.Writer) error {
	for {
		text := q.take()
		if text == nil {
			return nil
		}
		if _, err := w.Write(text); err != nil {
			q.fail()
			return err
		}
	}
}

// run writes until ctx ends or the console fails.
func (q *queue) run(ctx context.Context, w io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.wake:
			if err := q.write(w); err != nil {
				return err
			}
		}
	}
}
