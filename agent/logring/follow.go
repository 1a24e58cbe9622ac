package logring

import (
	"context"
	"sync/atomic"
)

// followBuffer is how many entries a follower may lag behind.
const followBuffer = 256

// Follower receives entries as they are made.
type Follower struct {
	entries chan Entry
	dropped atomic.Uint64
}

// Entries returns the channel of new entries. It is closed after the context
// of Subscribe has ended.
func (f *Follower) Entries() <-chan Entry { return f.entries }

// Dropped returns how many entries were lost because the follower was slow.
func (f *Follower) Dropped() uint64 { return f.dropped.Load() }

func (f *Follower) offer(e Entry) {
	select {
	case f.entries <- e:
	default:
		f.dropped.Add(1)
	}
}

// Subscribe follows the log from now on until ctx ends. To see older entries
// too, subscribe first, take a Snapshot, and skip what comes twice by Seq.
func (r *Ring) Subscribe(ctx context.Context) *Follower {
	f := &Follower{entries: make(chan Entry, followBuffer)}
	r.mu.Lock()
	r.followers[f] = struct{}{}
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.followers, f)
		close(f.entries)
	})
	return f
}
