package pki

import (
	"context"
	"log/slog"
	"time"
)

// renewRetry is the pause after a renewal that failed: a third of the life is
// left for it to work.
const renewRetry = time.Hour

// Renew calls renew at two thirds of the life of certificates that were made
// just now, and of those that it made, until ctx ends, and whenever somebody
// asks for it.
func Renew(ctx context.Context, asked <-chan struct{}, renew func() error) {
	const age = CertificateLife * 2 / 3
	pause := age
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		case <-time.After(pause):
		}
		pause = age
		if err := renew(); err != nil && ctx.Err() == nil {
			pause = renewRetry
			slog.Error("certificates could not be renewed", "error", err, "again in", pause)
		}
	}
}
