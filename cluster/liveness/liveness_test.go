package liveness

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// What programs do when they are asked.
var (
	answers = func(context.Context) error { return nil }
	silent  = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	gone    = func(context.Context) error { return os.NewSyscallError("connect", syscall.ECONNREFUSED) }
	missing = func(context.Context) error { return fs.ErrNotExist }
	// The client is out of files, or has given up by itself.
	fails   = func(context.Context) error { return os.NewSyscallError("socket", syscall.EMFILE) }
	stalled = func(context.Context) error { time.Sleep(time.Hour); return errors.New("TLS handshake timeout") }
)

func TestAProgramHangsWhenItDoesNotAnswerAnyMore(t *testing.T) {
	for name, test := range map[string]struct {
		first, then func(context.Context) error
		hangs       bool
	}{
		"answers":                    {answers, answers, false},
		"is silent":                  {answers, silent, true},
		"cannot be asked":            {answers, fails, true},
		"has never answered":         {silent, silent, false},
		"was never there":            {gone, silent, false},
		"is gone":                    {answers, gone, false},
		"is gone, with its socket":   {answers, missing, false},
		"is silent after it started": {missing, silent, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			const change = 10 * time.Minute
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			err := Watch(ctx, func(ctx context.Context) error {
				if time.Since(began) > change {
					return test.then(ctx)
				}
				return test.first(ctx)
			})
			if errors.Is(err, ErrHangs) != test.hangs || !test.hangs && err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if took := time.Since(began) - change; test.hangs && (took < (patience-1)*interval || took > (patience+1)*interval) {
				t.Errorf("%s: noticed after %v", name, took)
			}
		})
	}
}

func TestAProgramThatAnswersNowAndThenIsLeftAlone(t *testing.T) {
	for name, test := range map[string]struct {
		seldom, mostly func(context.Context) error
	}{
		"busy": {answers, silent}, "started again and again": {gone, silent},
		// As many minutes as it likes: the one who asks did not run either.
		"in a machine that was stopped": {answers, stalled},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			asked := 0
			err := Watch(ctx, func(ctx context.Context) error {
				if asked++; asked == 1 {
					return nil
				}
				if asked%patience == 0 {
					return test.seldom(ctx)
				}
				return test.mostly(ctx)
			})
			if err != nil {
				t.Errorf("%s, asked %d times: %v", name, asked, err)
			}
		})
	}
}
