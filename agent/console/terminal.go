package console

import (
	"context"
	"io"
	"time"
)

const (
	// frameInterval is the shortest time between two frames: nobody reads
	// faster, and a frame on a slow framebuffer costs the CPU some milliseconds.
	frameInterval = time.Second
	// repaintInterval is how long what the kernel printed over the screen stays.
	repaintInterval = 30 * time.Second
)

// terminal keeps one virtual terminal showing the node's status, and after
// leave was called shows lines.
type terminal struct {
	lines *queue // woken for frames too
	size  func() (width, height int)
	view  func(rows int) view
	left  chan struct{} // closed by leave
}

func newTerminal(size func() (int, int), view func(rows int) view) *terminal {
	return &terminal{lines: newQueue(), size: size, view: view, left: make(chan struct{})}
}

// redraw asks for a frame, some time soon.
func (t *terminal) redraw() { t.lines.poke() }

// leave ends the drawing: from now on the terminal shows the lines put to it.
// It is called once.
func (t *terminal) leave() { close(t.left) }

// run draws until ctx ends or the terminal fails.
func (t *terminal) run(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, takeScreen); err != nil {
		t.lines.fail()
		return err
	}
	var shown *frame
	var painted time.Time // the whole of it
	repaint := time.NewTimer(0)
	defer repaint.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.left:
			return t.showLines(ctx, w)
		case <-t.lines.wake:
		case <-repaint.C:
		}
		if time.Since(painted) >= repaintInterval {
			shown, painted = nil, time.Now()
		}
		width, height := t.size()
		next := layout(t.view(height), width, height)
		if out := next.draw(shown); len(out) > 0 {
			if _, err := w.Write(out); err != nil {
				t.lines.fail()
				return err
			}
		}
		shown = next
		repaint.Reset(time.Until(painted.Add(repaintInterval)))
		if !t.pause(ctx) {
			continue
		}
	}
}

// pause waits out the interval between frames; it returns early when there is
// something else to do.
func (t *terminal) pause(ctx context.Context) bool {
	timer := time.NewTimer(frameInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-t.left:
	}
	return false
}

func (t *terminal) showLines(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, leaveScreen); err != nil {
		t.lines.fail()
		return err
	}
	if err := t.lines.write(w); err != nil {
		return err
	}
	return t.lines.run(ctx, w)
}
