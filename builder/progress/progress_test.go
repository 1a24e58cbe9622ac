package progress

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"
)

func TestPlainLinesWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	p := New(&out)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }

	s := p.Step("root")
	s.Bytes(10, 100)
	s.Detail("%d files", 3)
	now = now.Add(1234 * time.Millisecond)
	s.End(nil)
	s = p.Step("packages")
	s.Cached()
	s.End(nil)
	p.Step("broken").End(errors.New("no"))
	p.Warn("mirror %s", "slow")
	p.Close()

	want := "root: 1.2 s, 3 files\npackages: unchanged\nwarning: mirror slow\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestDurationAndSizeBoundaries(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Duration(999 * time.Millisecond), "999 ms"},
		{Duration(time.Second), "1.0 s"},
		{Duration(125 * time.Second), "2 min 5 s"},
		{Size(999), "999 B"},
		{Size(1000), "1.0 kB"},
		{Size(1_500_000), "1.5 MB"},
		{Size(1_230_000_000), "1.23 GB"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestTasksEndWithTheFirstThatFails(t *testing.T) {
	var out bytes.Buffer
	broken := errors.New("broken")
	ran := 0
	count := func(context.Context, *Step) error { ran++; return nil }
	err := New(&out).Run(t.Context(), []Task{
		{"first", count}, {"second", func(context.Context, *Step) error { return broken }}, {"third", count},
	})
	if !errors.Is(err, broken) || err.Error() != "second: broken" || ran != 1 {
		t.Errorf("%d tasks ran well, then %v", ran, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = New(&out).Run(ctx, []Task{{"first", func(context.Context, *Step) error { cancel(); return broken }}, {"second", count}})
	if err != context.Canceled || ran != 1 {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRateSaysSpeedAndTimeLeft(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		elapsed     time.Duration
		want        string
	}{
		{5, 0, time.Minute, ""},
		{0, 10, time.Minute, "0 B of 10 B "},
		{5_000_000, 10_000_000, 999 * time.Millisecond, "5.0 MB of 10.0 MB "},
		{20_000_000, 150_000_000, 2 * time.Second, "20.0 MB of 150.0 MB 10.0 MB/s, 13.0 s left, "},
		{10_000_000, 10_000_000, 2 * time.Second, "10.0 MB of 10.0 MB 5.0 MB/s, 1.0 s left, "},
	} {
		if got := rate(c.done, c.total, c.elapsed); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
