package liveness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAProgramHangsWhenItDoesNotAnswerAnyMore(t *testing.T) {
	const (
		answers = iota
		refuses // at once
		silent
		givesUp // the client does, before its time is over
	)
	for name, test := range map[string]struct {
		first, then int
		hangs       bool
	}{
		"answers":                          {answers, answers, false},
		"is silent":                        {answers, silent, true},
		"is silent, and the client ends":   {answers, givesUp, true},
		"has never answered":               {silent, silent, false},
		"is gone":                          {answers, refuses, false},
		"is silent after it was not there": {refuses, silent, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			const change = 10 * time.Minute
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			err := Watch(ctx, func(ctx context.Context) error {
				does := test.first
				if time.Since(began) > change {
					does = test.then
				}
				switch does {
				case refuses:
					return errors.New("connection refused")
				case givesUp:
					time.Sleep(10 * time.Second)
					return errors.New("TLS handshake timeout")
				case silent:
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})
			if errors.Is(err, ErrHangs) != test.hangs || !test.hangs && err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if took := time.Since(began) - change; test.hangs && (took < patience || took > patience+interval+answerTime) {
				t.Errorf("%s: noticed after %v", name, took)
			}
		})
	}
}

func TestAProgramThatAnswersLateNowAndThenIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		asked := 0
		err := Watch(ctx, func(ctx context.Context) error {
			if asked++; asked%5 == 0 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("after %d questions: %v", asked, err)
		}
	})
}
