package logring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Persistence says how the log is kept on disk. Zero fields take the defaults.
type Persistence struct {
	Dir         string        // created if missing
	FileBytes   int64         // size at which node.log is rotated; default 4 MiB
	Files       int           // node.log and its predecessors node.log.1, …; default 4
	Every       time.Duration // longest time an entry waits in memory; default 5 min, less after the start
	ErrorsEvery time.Duration // shortest time between two writes; default 2 s
	DayBytes    int64         // write budget for 24 hours; default 64 MiB
}

// firstEvery is what Every grows from, with half of the time since the start,
// and how often writing is tried again.
const firstEvery = 30 * time.Second

func (p Persistence) withDefaults() Persistence {
	if p.FileBytes <= 0 {
		p.FileBytes = 4 << 20
	}
	if p.Files <= 0 {
		p.Files = 4
	}
	if p.Every <= 0 {
		p.Every = 5 * time.Minute
	}
	if p.ErrorsEvery <= 0 {
		p.ErrorsEvery = 2 * time.Second
	}
	if p.DayBytes <= 0 {
		p.DayBytes = 64 << 20
	}
	return p
}

// Persist appends the log to node.log in a directory until ctx ends, and then
// once more. It begins with what the ring holds already, so early entries of a
// boot reach a disk that was mounted late.
//
// Memory cards wear: entries are written in batches, errors soon and the rest
// at the latest after Every (in the first minutes, of which one wants to know
// most, after half a minute), and no more than DayBytes in 24 hours; after that
// only errors are kept, and they stop at a quarter more. The count starts anew
// with the agent. A full or broken disk costs entries, never the node: the
// trouble is logged once, writing is tried again with each batch, and what was
// lost is counted in the file.
func (r *Ring) Persist(ctx context.Context, p Persistence) error {
	p = p.withDefaults()
	if p.Dir == "" {
		return errors.New("keep log on disk: no directory given")
	}
	d := &disk{ring: r, settings: p, file: logFile{dir: p.Dir, limit: p.FileBytes, keep: p.Files}}
	in := r.newReader()
	defer r.closeReader(in)
	began := time.Now()
	batch := time.NewTimer(0)
	defer batch.Stop()
	for {
		urgent := in.wake
		select {
		case <-ctx.Done():
			d.flush(in, true)
			return d.file.close()
		case <-batch.C:
			d.flush(in, false)
		case <-urgent:
			d.flush(in, true)
		}
		// The pause bounds how often a storm of errors can write.
		pause := time.NewTimer(p.ErrorsEvery)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		wait := firstEvery
		if !d.failed {
			wait = max(wait, time.Since(began)/2)
		}
		batch.Reset(max(min(wait, p.Every)-p.ErrorsEvery, 0))
	}
}

// disk is the state of keeping the log on disk.
type disk struct {
	ring     *Ring
	settings Persistence
	file     logFile
	written  uint64 // Seq up to which entries are on disk or given up
	budget   budget
	failed   bool // the last write failed and was reported
	buf      []byte
}

// flush writes what is new. With sync it is on the medium afterwards; without,
// the kernel writes it back in its own time.
func (d *disk) flush(in *reader, sync bool) {
	entries := d.ring.read(in, d.written)
	if len(entries) == 0 {
		return
	}
	now := d.ring.uptime()
	d.budget.roll(now, d.settings.DayBytes)
	buf := d.buf[:0]
	if lost := entries[0].Seq - d.written - 1; lost > 0 {
		gap := d.remark(slog.LevelWarn, fmt.Sprintf("%d entries before this one were lost: the ring overran", lost))
		buf = appendLine(buf, &gap)
	}
	spent := d.budget
	for i := range entries {
		e := &entries[i]
		before := len(buf)
		buf = appendLine(buf, e)
		switch spent.take(int64(len(buf)-before), e.Level >= slog.LevelError) {
		case refused:
			buf = buf[:before]
		case lastOne:
			note := d.remark(slog.LevelWarn, fmt.Sprintf(
				"%d bytes of log written within 24 h: only errors are kept on disk until that time is over", d.settings.DayBytes))
			buf = appendLine(buf[:before], &note)
		}
	}
	if err := d.file.append(buf, sync); err != nil {
		if !d.failed {
			d.failed = true
			d.ring.Add("log", slog.LevelWarn, fmt.Sprintf("the log is kept in memory only: %v", err))
		}
		return
	}
	d.budget = spent
	d.written = entries[len(entries)-1].Seq
	if d.failed {
		d.failed = false
		d.ring.Add("log", slog.LevelInfo, "the log is kept on disk again")
	}
	// A batch after a long outage may be as large as the ring: do not keep that.
	if d.buf = buf; cap(buf) > 256<<10 {
		d.buf = nil
	}
}

// remark is a line for the file alone.
func (d *disk) remark(l slog.Level, text string) Entry {
	return Entry{Time: d.ring.now(), Level: l, Source: "log", Text: text}
}

// verdict on one line.
type verdict int

const (
	granted verdict = iota
	lastOne         // the first line refused: say so in its place
	refused
)

// budget counts bytes written within a day of uptime: the wall clock jumps.
type budget struct {
	since time.Duration
	day   int64 // bytes granted in a day
	used  int64
	spent bool
}

func (b *budget) roll(now time.Duration, day int64) {
	if b.day == 0 || now-b.since >= 24*time.Hour {
		*b = budget{since: now, day: day}
	}
}

func (b *budget) take(n int64, isError bool) verdict {
	limit := b.day
	if isError {
		limit += b.day / 4
	}
	if b.used+n <= limit {
		// Once spent, a small line that would still fit stays out as well:
		// gaps that depend on the length of lines confuse the reader.
		if !b.spent || isError {
			b.used += n
			return granted
		}
		return refused
	}
	if !b.spent {
		b.spent = true
		return lastOne
	}
	return refused
}
