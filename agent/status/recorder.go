package status

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds on problems. Sources are parts of the agent and names of services, so
// a node never comes near them; they stand between a program that reports in a
// loop under ever new names and PID 1's memory.
const (
	maxProblems    = 64
	maxProblemText = 1024 // bytes
)

// Recorder collects the node's status. The zero value is not usable: call
// NewRecorder.
type Recorder struct {
	now func() time.Time

	mu          sync.Mutex
	status      Status
	subscribers []chan struct{}
}

// NewRecorder returns a Recorder with an empty status. now gives the times of
// problems; nil means time.Now.
func NewRecorder(now func() time.Time) *Recorder {
	if now == nil {
		now = time.Now
	}
	return &Recorder{now: now}
}

// Update lets change edit the status and tells subscribers. change runs under
// the recorder's lock: it must not call the recorder and must not wait. Slices
// it stores belong to the recorder from then on. Problems are not for Update:
// Report and Clear keep their order and bounds, and what change does to them is
// undone.
func (r *Recorder) Update(change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	problems := r.status.Problems
	change(&r.status)
	r.status.Problems = problems
	r.changed()
}

// Report says that something is wrong with source, or that it is now wrong in
// another way. A problem has one text a source; reporting the same text again
// changes nothing, Since included. Of more than 64 problems the oldest is
// forgotten; text over 1 KiB is cut.
func (r *Recorder) Report(source, text string) {
	if len(text) > maxProblemText {
		text = strings.ToValidUTF8(text[:maxProblemText], "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(source)
	if i >= 0 && r.status.Problems[i].Text == text {
		return
	}
	problem := Problem{Source: source, Text: text, Since: r.now()}
	if i >= 0 {
		r.status.Problems = slices.Delete(r.status.Problems, i, i+1)
	}
	r.status.Problems = slices.Insert(r.status.Problems, 0, problem)
	if len(r.status.Problems) > maxProblems {
		r.status.Problems = r.status.Problems[:maxProblems]
	}
	r.changed()
}

// Clear says that nothing is wrong with source any more.
func (r *Recorder) Clear(source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(source)
	if i < 0 {
		return
	}
	r.status.Problems = slices.Delete(r.status.Problems, i, i+1)
	r.changed()
}

func (r *Recorder) find(source string) int {
	return slices.IndexFunc(r.status.Problems, func(p Problem) bool { return p.Source == source })
}

// Snapshot returns the status as it is now. The caller owns it.
func (r *Recorder) Snapshot() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.clone()
}

// Changes returns a channel of the caller's own that receives after the status
// changed. Changes that come faster than they are received are one: receive,
// then take a Snapshot. The channel is never closed and lives as long as the
// recorder, so a reader asks for it once.
func (r *Recorder) Changes() <-chan struct{} {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers = append(r.subscribers, c)
	return c
}

func (r *Recorder) changed() {
	for _, c := range r.subscribers {
		select {
		case c <- struct{}{}:
		default: // one is waiting already
		}
	}
}
