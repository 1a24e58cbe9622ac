// Package logring holds the node's log: the kernel's messages, the output of
// services and what the agent says itself, in one ring in memory.
//
// It promises that logging never blocks and never fails, that the ring stays
// within its size, that every entry is one line of printable text whatever
// was fed in, and that a slow follower loses entries, told how many, rather
// than hold up the others. Persist keeps the log on disk as far as the disk,
// its size limit and its daily write budget allow.
//
// Showing the log is left to the console and the node's API.
package logring

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultBytes is the size of a node's ring.
const DefaultBytes = 1 << 20

// entryBytes is what an entry costs besides its text.
const entryBytes = 96

// Entry is one line of the log.
type Entry struct {
	Seq    uint64        // counts from 1, without gaps
	Time   time.Time     // wall clock when the entry was made; early in a boot it may be wrong
	Uptime time.Duration // since the kernel started
	Level  slog.Level
	Source string // "kernel", "agent", or a service's name
	Text   string // one printable line of at most MaxLine bytes
}

func (e *Entry) cost() int { return entryBytes + len(e.Source) + len(e.Text) }

// Ring is the log in memory. Its methods may be called from anywhere at any
// time.
type Ring struct {
	now    func() time.Time
	uptime func() time.Duration
	limit  int

	mu        sync.Mutex
	entries   []Entry // entries[head:] are alive
	head      int
	bytes     int
	last      uint64 // newest Seq
	followers map[*Follower]struct{}
	readers   map[*reader]struct{}
}

// Option changes a new ring.
type Option func(*Ring)

// WithClock replaces the wall clock and the time since boot.
func WithClock(now func() time.Time, uptime func() time.Duration) Option {
	return func(r *Ring) { r.now, r.uptime = now, uptime }
}

// New returns an empty ring that holds at most the given number of bytes;
// 0 means DefaultBytes.
func New(bytes int, options ...Option) *Ring {
	if bytes <= 0 {
		bytes = DefaultBytes
	}
	r := &Ring{
		now: time.Now, uptime: uptime, limit: bytes,
		followers: map[*Follower]struct{}{}, readers: map[*reader]struct{}{},
	}
	for _, o := range options {
		o(r)
	}
	return r
}

// uptime reads CLOCK_MONOTONIC, which the kernel's own messages count too.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Add logs one entry. Control characters and invalid UTF-8 are escaped, and
// text over MaxLine bytes is cut and says so.
func (r *Ring) Add(source string, level slog.Level, text string) {
	r.add(Entry{Time: r.now(), Uptime: r.uptime(), Level: level, Source: source, Text: text})
}

// addAt logs an entry that was made when the machine had been up for so long.
func (r *Ring) addAt(source string, level slog.Level, up time.Duration, text string) {
	r.add(Entry{Time: r.now().Add(up - r.uptime()), Uptime: up, Level: level, Source: source, Text: text})
}

func (r *Ring) add(e Entry) {
	e.Text = cut(Clean(e.Text))
	e.Source = Clean(e.Source)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	e.Seq = r.last
	r.entries = append(r.entries, e)
	r.bytes += e.cost()
	for r.bytes > r.limit && len(r.entries)-r.head > 1 {
		old := &r.entries[r.head]
		r.bytes -= old.cost()
		*old = Entry{}
		r.head++
	}
	// Moving down only when half is dead keeps an append at constant cost.
	if r.head > len(r.entries)/2 && r.head > 64 {
		n := copy(r.entries, r.entries[r.head:])
		clear(r.entries[n:])
		r.entries, r.head = r.entries[:n], 0
	}
	for f := range r.followers {
		f.offer(e)
	}
	for p := range r.readers {
		p.noticed(e.cost(), e.Level, r.limit)
	}
}

// Snapshot returns all entries, oldest first.
func (r *Ring) Snapshot() []Entry { return r.After(0) }

// After returns the entries with a Seq above seq, oldest first. The first one
// has a Seq above seq+1 if the ring has dropped some since.
func (r *Ring) After(seq uint64) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.after(seq)
}

func (r *Ring) after(seq uint64) []Entry {
	alive := r.entries[r.head:]
	if len(alive) == 0 || seq >= r.last {
		return nil
	}
	if first := alive[0].Seq; seq >= first {
		alive = alive[seq-first+1:]
	}
	return append([]Entry(nil), alive...)
}

// Tail returns the newest n entries of a source, oldest first; an empty source
// means all.
func (r *Ring) Tail(source string, n int) []Entry {
	if n <= 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	alive := r.entries[r.head:]
	var found []Entry
	for i := len(alive) - 1; i >= 0 && len(found) < n; i-- {
		if source == "" || alive[i].Source == source {
			found = append(found, alive[i])
		}
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

// reader reads the ring from one place on, and is woken for what is urgent.
type reader struct {
	wake   chan struct{} // one pending wake-up
	unread int           // bytes since the last read
}

// noticed wakes the reader for an error, or when waiting longer would let the
// ring overrun it.
func (p *reader) noticed(bytes int, level slog.Level, limit int) {
	p.unread += bytes
	if level >= slog.LevelError || p.unread > limit/2 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (r *Ring) newReader() *reader {
	p := &reader{wake: make(chan struct{}, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readers[p] = struct{}{}
	return p
}

func (r *Ring) closeReader(p *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.readers, p)
}

func (r *Ring) read(p *reader, seq uint64) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.unread = 0
	return r.after(seq)
}
