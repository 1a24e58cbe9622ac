// Package console shows the node on its consoles. A serial line gets lines: each
// phase of the boot, problems, a status block and, last, one line that says that
// the node is up. A virtual terminal gets a screen that is redrawn in place.
//
// Nothing here waits for a console: each has a bounded queue and a goroutine of
// its own, and a dead or stopped line loses text, never time. What is foreign in
// the text cannot control the terminal. The kernel's messages are the kernel's
// own and go past this package; keeping a log is left to package logring.
package console

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/skerry-os/skerry/agent/status"
)

// Options are what a Console needs.
type Options struct {
	Status *status.Recorder
	// Tail returns the last n lines of the node's log, oldest first, for screens;
	// nil shows the lines this Console printed. It must not wait.
	Tail func(n int) []string
	Log  *slog.Logger // gets consoles that cannot be opened or fail
}

// Console writes to all consoles of a node. Its methods are safe for concurrent
// use and do not wait for a console, Flush excepted.
type Console struct {
	status *status.Recorder
	tail   func(n int) []string
	log    *slog.Logger
	wait   sync.WaitGroup

	mu        sync.Mutex
	serial    []*queue
	terminals []*terminal
	recent    []string          // the last lines printed
	problems  map[string]string // announced, by source
	said      map[string]string // what main services said last, by name
	up, left  bool
}

// maxRecent is how many printed lines are kept for screens.
const maxRecent = maxHeight

// New returns a Console without consoles; Open adds them.
func New(o Options) *Console {
	return &Console{status: o.Status, tail: o.Tail, log: o.Log, problems: map[string]string{}, said: map[string]string{}}
}

// Open opens devices and writes to them until ctx ends. One that cannot be
// opened is logged and left out: a node works without any.
func (c *Console) Open(ctx context.Context, devices []Device) {
	for _, d := range devices {
		file, err := open(d)
		if err != nil {
			c.log.Warn("console", "error", err)
			continue
		}
		// A write that waits for a stopped line ends with ctx.
		context.AfterFunc(ctx, func() { file.Close() })
		if d.Terminal {
			c.addTerminal(ctx, d.Path, file, func() (int, int) { return screenSize(file) })
		} else {
			c.addSerial(ctx, d.Path, file)
		}
	}
}

func (c *Console) addSerial(ctx context.Context, name string, w io.Writer) {
	q := newQueue()
	c.mu.Lock()
	c.serial = append(c.serial, q)
	c.mu.Unlock()
	c.wait.Go(func() { c.ended(ctx, name, q.run(ctx, w)) })
}

func (c *Console) addTerminal(ctx context.Context, name string, w io.Writer, size func() (int, int)) {
	t := newTerminal(size, c.view)
	c.mu.Lock()
	c.terminals = append(c.terminals, t)
	c.mu.Unlock()
	c.wait.Go(func() { c.ended(ctx, name, t.run(ctx, w)) })
}

func (c *Console) ended(ctx context.Context, name string, err error) {
	if err != nil && ctx.Err() == nil {
		c.log.Warn("console given up", "console", name, "error", err)
	}
}

// Run shows changes of the status, problems first of all, until ctx ends.
func (c *Console) Run(ctx context.Context) {
	changes := c.status.Changes()
	c.Refresh()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			c.Refresh()
		}
	}
}

// Refresh announces new problems, says what the main service is doing, and has
// screens redrawn. Run calls it when the status changes; the owner of the log
// calls it when there are new lines.
func (c *Console) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.status.Snapshot()
	c.announce(now)
	c.quote(now)
	c.redraw()
}

// PhaseDone prints that a phase of the boot ended well.
func (c *Console) PhaseDone(p status.Phase, took time.Duration) { c.print(phaseDone(p, took)) }

// PhaseFailed prints that a phase failed, why, and (if advice is not empty) what
// to do.
func (c *Console) PhaseFailed(p status.Phase, err error, advice string) {
	c.print(phaseFailed(p, err, advice))
}

// Print prints one line of the agent's own.
func (c *Console) Print(text string) { c.print("skerry: " + clean(text)) }

// NodeUp ends a good boot: the problems there are, the status block, and as the
// last line that the node is up.
func (c *Console) NodeUp() {
	s := c.status.Snapshot()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announce(s)
	c.quote(s)
	for _, q := range c.serial {
		q.put(block(s)...)
	}
	c.up = true
	c.printLocked(nodeUp(s))
}

// Shutdown takes the screens down to plain text, where this line and all later
// ones can be read, and prints text.
func (c *Console) Shutdown(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left {
		c.left = true
		for _, t := range c.terminals {
			t.leave()
		}
	}
	c.printLocked("skerry: " + clean(text))
}

// Flush waits until everything printed so far is written, or ctx ends. PID 1
// calls it with a short deadline before it reboots. Screens are not waited for
// while they are drawn.
func (c *Console) Flush(ctx context.Context) {
	c.mu.Lock()
	queues := slices.Clone(c.serial)
	if c.left {
		for _, t := range c.terminals {
			queues = append(queues, t.lines)
		}
	}
	c.mu.Unlock()
	for _, q := range queues {
		q.flush(ctx)
	}
}

func (c *Console) print(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.printLocked(line)
}

func (c *Console) printLocked(line string) {
	for _, q := range c.serial {
		q.put(line)
	}
	if c.left {
		for _, t := range c.terminals {
			t.lines.put(line)
		}
		return
	}
	if len(c.recent) == maxRecent {
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	c.recent = append(c.recent, line)
	c.redraw()
}

func (c *Console) redraw() {
	for _, t := range c.terminals {
		t.redraw()
	}
}

// announce prints the problems that are new or changed, oldest first, and those
// that are gone.
func (c *Console) announce(s status.Status) {
	current := make(map[string]string, len(s.Problems))
	for _, p := range slices.Backward(s.Problems) {
		current[p.Source] = p.Text
		if text, known := c.problems[p.Source]; !known || text != p.Text {
			c.printLocked("skerry: problem: " + clean(p.Source) + ": " + clean(p.Text))
		}
	}
	var resolved []string
	for source := range c.problems {
		if _, still := current[source]; !still {
			resolved = append(resolved, source)
		}
	}
	slices.Sort(resolved)
	for _, source := range resolved {
		c.printLocked("skerry: resolved: " + clean(source))
	}
	c.problems = current
}

// quote prints what a main service says of itself when it says something else.
func (c *Console) quote(s status.Status) {
	for _, service := range s.Services {
		if service.Main && service.Status != "" && service.Status != c.said[service.Name] {
			c.said[service.Name] = service.Status
			c.printLocked("skerry: " + clean(service.Name) + ": " + clean(service.Status))
		}
	}
}

// view is what a screen of so many rows shows now.
func (c *Console) view(rows int) view {
	c.mu.Lock()
	v := view{up: c.up, log: slices.Clone(c.recent[max(0, len(c.recent)-rows):])}
	c.mu.Unlock()
	v.status = c.status.Snapshot()
	if c.tail != nil {
		v.log = c.tail(rows)
	}
	return v
}
