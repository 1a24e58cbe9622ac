package pki

import (
	"context"
	"log/slog"
	"time"
)

// renewRetry is the pause after a renewal that failed, and the least between
// two: a third of the life is left for it to work.
const renewRetry = time.Hour

// Renew calls renew at two thirds of the life of certificates that end at a
// given time, and of those that it made, until ctx ends, and whenever somebody
// asks for it. renew returns when the new ones end.
//
// That end is what counts: who signs them may have another idea of when they
// begin.
func Renew(ctx context.Context, ends time.Time, asked <-chan struct{}, renew func() (ends time.Time, err error)) {
	pause := pauseBefore(ends)
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		case <-time.After(pause):
		}
		ends, err := renew()
		pause = max(pauseBefore(ends), renewRetry)
		if err != nil && ctx.Err() == nil {
			pause = renewRetry
			slog.Error("certificates could not be renewed", "error", err, "again in", pause)
		}
	}
}

// pauseBefore is how long certificates that end at a given time have not to be
// renewed.
func pauseBefore(ends time.Time) time.Duration { return time.Until(ends.Add(-CertificateLife / 3)) }
