package status

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// tick returns a clock that advances one second a reading.
func tick() func() time.Time {
	t := time.Unix(1000, 0)
	return func() time.Time {
		t = t.Add(time.Second)
		return t
	}
}

func TestProblemsAreOneASourceLatestFirst(t *testing.T) {
	r := NewRecorder(tick())
	r.Report("network", "no carrier")
	r.Report("clock", "no answer")
	r.Report("network", "no lease")
	want := []Problem{
		{"network", "no lease", time.Unix(1003, 0)},
		{"clock", "no answer", time.Unix(1002, 0)},
	}
	if diff := cmp.Diff(want, r.Snapshot().Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	r.Clear("network")
	if diff := cmp.Diff(want[1:], r.Snapshot().Problems); diff != "" {
		t.Errorf("after Clear (-want +got):\n%s", diff)
	}
}

func TestRepeatedReportChangesNothing(t *testing.T) {
	r := NewRecorder(tick())
	r.Report("clock", "no answer")
	r.Report("network", "down")
	before := r.Snapshot()
	changes := r.Changes()
	r.Report("clock", "no answer")
	r.Clear("nothing was wrong here")
	if diff := cmp.Diff(before.Problems, r.Snapshot().Problems); diff != "" {
		t.Errorf("problems changed (-before +after):\n%s", diff)
	}
	select {
	case <-changes:
		t.Error("a change was announced where none was")
	default:
	}
}

func TestSnapshotDoesNotShareMemory(t *testing.T) {
	r := NewRecorder(nil)
	r.Update(func(s *Status) {
		s.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}
		s.Services = []Service{{Name: "cluster", State: "starting"}}
	})
	r.Report("a", "b")
	got := r.Snapshot()
	got.Addresses[0] = netip.Prefix{}
	got.Services[0].State = "failed"
	got.Problems[0].Text = "c"
	again := r.Snapshot()
	if !again.Addresses[0].IsValid() || again.Services[0].State != "starting" || again.Problems[0].Text != "b" {
		t.Errorf("a snapshot's edits reached the recorder: %+v", again)
	}
}

func TestUpdateCannotTouchProblems(t *testing.T) {
	r := NewRecorder(nil)
	r.Report("a", "b")
	r.Update(func(s *Status) { s.Problems = nil })
	if n := len(r.Snapshot().Problems); n != 1 {
		t.Errorf("%d problems, want 1", n)
	}
}

func TestChangesCoalesceForEverySubscriber(t *testing.T) {
	r := NewRecorder(nil)
	first, second := r.Changes(), r.Changes()
	for range 100 {
		r.Update(func(s *Status) { s.Boot++ })
	}
	for _, c := range []<-chan struct{}{first, second} {
		<-c
		select {
		case <-c:
			t.Error("a second change is waiting")
		default:
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	r := NewRecorder(nil)
	for i := range maxProblems + 10 {
		r.Report(fmt.Sprint(i), strings.Repeat("ä", maxProblemText))
	}
	problems := r.Snapshot().Problems
	if len(problems) != maxProblems {
		t.Errorf("%d problems kept, want %d", len(problems), maxProblems)
	}
	if problems[0].Source != fmt.Sprint(maxProblems+9) {
		t.Errorf("the latest problem was lost: first is %s", problems[0].Source)
	}
	if text := problems[0].Text; len(text) > maxProblemText || !utf8.ValidString(text) {
		t.Errorf("text of %d bytes, valid %v", len(text), utf8.ValidString(text))
	}
	// The bound holds the text valid when a character straddles it too.
	r.Report("straddle", "x"+strings.Repeat("ä", maxProblemText))
	if text := r.Snapshot().Problems[0].Text; !utf8.ValidString(text) {
		t.Error("a character was cut in two")
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	r := NewRecorder(nil)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			source := fmt.Sprint(i)
			for range 200 {
				r.Update(func(s *Status) { s.Boot++ })
				r.Report(source, "x")
				r.Snapshot()
				r.Clear(source)
			}
		})
	}
	group.Wait()
	if got := r.Snapshot(); got.Boot != 1600 || len(got.Problems) != 0 {
		t.Errorf("boot %d, %d problems; want 1600, 0", got.Boot, len(got.Problems))
	}
}
