package main

import (
	"strings"
	"testing"
	"time"
)

func TestUsageCountsTheProcessesBelow(t *testing.T) {
	s := &session{}
	// tail keeps all it is given in memory, and is a child of the shell's.
	u, err := s.command(t.Context(), t.TempDir(), nil, "sh", "-c", "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c; true")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(u.stdout) != "200000000" {
		t.Errorf("got %q", u.stdout)
	}
	if u.peak < 200e6 || u.peak > 600e6 {
		t.Errorf("a child had 200 MB, and the peak is %.0f bytes", u.peak)
	}
	if u.cpu <= 0 || u.wall <= 0 {
		t.Errorf("time %v, processor %v", u.wall, u.cpu)
	}
	small, err := s.command(t.Context(), t.TempDir(), nil, "true")
	if err != nil || small.peak > 100e6 {
		t.Errorf("true had %.0f bytes, %v", small.peak, err)
	}
}

func TestWaitingIsTimeAndNoWork(t *testing.T) {
	u, err := (&session{}).command(t.Context(), t.TempDir(), nil, "sleep", "0.2")
	if err != nil || u.wall < 200*time.Millisecond || u.cpu > u.wall/2 {
		t.Errorf("time %v, processor %v, %v", u.wall, u.cpu, err)
	}
}

func TestFailureShowsWhatTheProgramSaidLast(t *testing.T) {
	_, err := (&session{}).command(t.Context(), t.TempDir(), []string{"WORD=reason"}, "sh", "-c", `seq 100 >&2; echo "the $WORD" >&2; exit 3`)
	if err == nil || !strings.HasSuffix(err.Error(), "100\nthe reason") || strings.Contains(err.Error(), "\n50\n") {
		t.Errorf("got %v", err)
	}
}
