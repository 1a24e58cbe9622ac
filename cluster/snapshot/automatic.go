package snapshot

import (
	"context"
	"log/slog"
	"time"
)

const (
	// firstAfter has a new server take a first snapshot once it has settled.
	firstAfter = 10 * time.Minute
	// retryAfter is the pause after one that failed, as on a full disk.
	retryAfter = time.Hour
)

// Schedule takes snapshots by itself.
type Schedule struct {
	Dir   string
	Every time.Duration
	Keep  int // how many automatic ones
	Save  func(ctx context.Context, how string) (Snapshot, error)
	Now   func() time.Time
}

// Run takes snapshots until ctx ends. When the next one is due follows from the
// latest there is: a server that starts often does not take more.
func (s Schedule) Run(ctx context.Context) {
	pause := s.due()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = s.Every
		made, err := s.Save(ctx, Automatic)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			slog.Info("a snapshot was taken", "path", made.Path, "bytes", made.Bytes)
			err = prune(s.Dir, s.Keep)
		}
		if err != nil {
			pause = min(pause, retryAfter)
			slog.Error("the automatic snapshot", "error", err, "again in", pause)
		}
	}
}

// due is how long it is until the next snapshot. The clock may have been set
// since the latest.
func (s Schedule) due() time.Duration {
	wait := min(firstAfter, s.Every)
	all, err := List(s.Dir)
	if err != nil {
		return wait
	}
	for _, latest := range all {
		if latest.How == Automatic {
			return min(max(s.Every-s.Now().Sub(latest.Time), wait), s.Every)
		}
	}
	return wait
}
