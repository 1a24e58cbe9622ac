package logring

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubbled is a ring on the bubble's clock.
func bubbled(bytes int) *Ring {
	start := time.Now()
	return New(bytes, WithClock(time.Now, func() time.Duration { return time.Since(start) }))
}

// persist keeps r in dir until the returned function is called.
func persist(t *testing.T, r *Ring, p Persistence) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Persist(ctx, p) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func lines(t *testing.T, p ...string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p...))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(b) == 0 {
		return nil
	}
	if b[len(b)-1] != '\n' {
		t.Fatalf("file ends in %q", b[max(0, len(b)-20):])
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestLogIsWrittenInBatchesErrorsSoonAndTheRestAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := bubbled(0)
		r.Add("kernel", slog.LevelInfo, "before the disk was there")
		stop := persist(t, r, Persistence{Dir: dir + "/new"})
		count := func() int { synctest.Wait(); return len(lines(t, dir, "new", FileName)) }
		if n := count(); n != 1 {
			t.Errorf("%d lines, want the early one at once", n)
		}
		time.Sleep(3 * time.Second)
		r.Add("web", slog.LevelInfo, "no hurry")
		time.Sleep(20 * time.Second)
		if n := count(); n != 1 {
			t.Errorf("%d lines: the batch was not awaited", n)
		}
		time.Sleep(11 * time.Second)
		if n := count(); n != 2 {
			t.Errorf("%d lines after 30 s", n)
		}
		time.Sleep(3 * time.Second)
		r.Add("web", slog.LevelError, "now")
		if n := count(); n != 3 {
			t.Errorf("%d lines after an error", n)
		}
		r.Add("web", slog.LevelError, "too soon")
		if n := count(); n != 3 {
			t.Errorf("%d lines: a second error within 2 s was written at once", n)
		}
		time.Sleep(2 * time.Second)
		if n := count(); n != 4 {
			t.Errorf("%d lines 2 s after the first error", n)
		}
		time.Sleep(time.Hour)
		r.Add("web", slog.LevelInfo, "late in a quiet day")
		time.Sleep(30 * time.Second)
		if n := count(); n != 4 {
			t.Errorf("%d lines: a batch is written as often as at the start", n)
		}
		time.Sleep(5 * time.Minute)
		if n := count(); n != 5 {
			t.Errorf("%d lines after five minutes more", n)
		}
		r.Add("agent", slog.LevelInfo, "going down")
		stop()
		all := lines(t, dir, "new", FileName)
		shape := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (ERROR|WARN|INFO|DEBUG) [a-z]+: .`)
		for _, l := range all {
			if !shape.MatchString(l) {
				t.Errorf("line %q", l)
			}
		}
		if len(all) != 6 {
			t.Errorf("%d lines at the end", len(all))
		}
	})
}

func TestFilesRotateWithinTheirSizeAndLoseNoLine(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := bubbled(0)
		stop := persist(t, r, Persistence{Dir: dir, FileBytes: 1000, Files: 3})
		for i := range 40 {
			r.Add("web", slog.LevelError, fmt.Sprintf("line %02d %s", i, strings.Repeat("x", i)))
			if i%3 == 0 {
				time.Sleep(3 * time.Second)
			}
		}
		stop()
		var all []string
		for _, name := range []string{FileName + ".2", FileName + ".1", FileName} {
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil || st.Size() > 1000 {
				t.Errorf("%s: %v, %v", name, st, err)
			}
			all = append(all, lines(t, dir, name)...)
		}
		for i, l := range all {
			if want := fmt.Sprintf("line %02d", 40-len(all)+i); !strings.Contains(l, want) {
				t.Errorf("line %q where %q should be", l, want)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, FileName+".3")); err == nil {
			t.Error("a fourth file is kept")
		}
	})
}

func TestALineLongerThanTheFileLimitIsKept(t *testing.T) {
	dir := t.TempDir()
	l := logFile{dir: dir, limit: 10, keep: 2}
	for _, s := range []string{"0123456789abcdef\n", "short\nand 0123456789\nx\n"} {
		if err := l.append([]byte(s), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := lines(t, dir, FileName); len(got) != 1 || got[0] != "x" {
		t.Errorf("%q", got)
	}
	if got := lines(t, dir, FileName+".1"); len(got) != 1 || got[0] != "and 0123456789" {
		t.Errorf("%q", got)
	}
}

func TestSpentBudgetKeepsErrorsSaysSoOnceAndComesBackAfterADay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := bubbled(0)
		stop := persist(t, r, Persistence{Dir: dir, DayBytes: 4000})
		for range 5 {
			for i := range 50 {
				r.Add("web", slog.LevelInfo, fmt.Sprintf("chatter %d", i))
			}
			r.Add("web", slog.LevelError, "trouble")
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		text := strings.Join(lines(t, dir, FileName), "\n")
		if n := strings.Count(text, "only errors are kept"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if n := strings.Count(text, "trouble"); n != 5 {
			t.Errorf("%d errors of 5", n)
		}
		if len(text) > 4000+600 {
			t.Errorf("%d bytes written", len(text))
		}
		for range 200 {
			r.Add("web", slog.LevelError, "flood of errors")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st, _ := os.Stat(filepath.Join(dir, FileName)); st.Size() > 4000*5/4+200 {
			t.Errorf("%d bytes: errors are not bounded", st.Size())
		}
		time.Sleep(24 * time.Hour)
		r.Add("web", slog.LevelInfo, "a new day")
		stop()
		if got := lines(t, dir, FileName); !strings.Contains(got[len(got)-1], "a new day") {
			t.Errorf("last line %q", got[len(got)-1])
		}
	})
}

func TestUnusableDiskIsReportedOnceAndRecoversWithACountOfLosses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := bubbled(40 * entryBytes)
		stop := persist(t, r, Persistence{Dir: dir})
		follow := r.Subscribe(t.Context())
		for i := range 100 {
			r.Add("web", slog.LevelError, fmt.Sprint(i))
			time.Sleep(5 * time.Second)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		stop()
		var said []string
		for len(follow.Entries()) > 0 {
			if e := <-follow.Entries(); e.Source == "log" {
				said = append(said, e.Text)
			}
		}
		if len(said) != 2 || !strings.Contains(said[0], "memory only") || !strings.Contains(said[1], "again") {
			t.Errorf("%q", said)
		}
		got := lines(t, dir, FileName)
		if !regexp.MustCompile(`\d+ entries before this one were lost`).MatchString(got[0]) || !strings.HasSuffix(got[len(got)-2], "web: 99") {
			t.Errorf("first %q, last %q", got[0], got[len(got)-1])
		}
	})
}

func TestFullDiskTakesBackAHalfWrittenBatch(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := logFile{dir: dir, limit: 1000, keep: 2, f: full}
	if err := l.append([]byte("lost\n"), true); err == nil || l.f != nil {
		t.Errorf("err = %v, file %v", err, l.f)
	}
	if err := l.append([]byte("kept\n"), true); err != nil {
		t.Error(err)
	}
	if got := lines(t, dir, FileName); len(got) != 1 || got[0] != "kept" {
		t.Errorf("%q", got)
	}
}

func TestTornLineIsEndedAndZerosGo(t *testing.T) {
	for before, want := range map[string]string{
		"":                                       "new\n",
		"whole\n":                                "whole\nnew\n",
		"whole\ntor":                             "whole\ntor … [torn]\nnew\n",
		"whole\n" + strings.Repeat("\x00", 9):    "whole\nnew\n",
		"tor" + strings.Repeat("\x00", 4096*2-3): "tor … [torn]\nnew\n",
		strings.Repeat("\x00", 5000):             "new\n",
		strings.Repeat("w", 4095) + "\n":         strings.Repeat("w", 4095) + "\nnew\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		l := logFile{dir: dir, limit: 1 << 20, keep: 2}
		if err := l.append([]byte("new\n"), true); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, FileName)); string(got) != want {
			t.Errorf("%.20q: got %.40q", before, got)
		}
	}
}
