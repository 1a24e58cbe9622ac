package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T) *Cache {
	t.Helper()
	c, err := Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(dir, contents string) error {
	return os.WriteFile(filepath.Join(dir, "out"), []byte(contents), 0o644)
}

func TestStepRunsOncePerKey(t *testing.T) {
	c := open(t)
	runs := 0
	for _, input := range []string{"a", "a", "b"} {
		dir, hit, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("input", input), func(dir string) error {
			runs++
			return write(dir, input)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil || string(got) != input {
			t.Errorf("result for %q: %q, %v (hit %v)", input, got, hit, err)
		}
	}
	if runs != 2 {
		t.Errorf("fill ran %d times for two different keys", runs)
	}
}

func TestKeysTellNameAndValueApart(t *testing.T) {
	a := NewKey("s", 1).Add("a", "bc").String()
	b := NewKey("s", 1).Add("ab", "c").String()
	c := NewKey("s", 2).Add("a", "bc").String()
	if a == b || a == c {
		t.Errorf("different inputs have the same key: %s %s %s", a, b, c)
	}
}

func TestFailedStepLeavesNothing(t *testing.T) {
	c := open(t)
	broken := errors.New("broken")
	_, _, err := c.Step(t.Context(), "root", NewKey("root", 1), func(dir string) error {
		if err := write(dir, "half"); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err = c.Step(ctx, "root", NewKey("root", 1), func(dir string) error {
		cancel()
		return write(dir, "cancelled")
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Join(c.Dir(), "steps"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestConcurrentBuildsShareOneRun(t *testing.T) {
	c := open(t)
	var runs atomic.Int32
	var builds sync.WaitGroup
	for range 8 {
		builds.Go(func() {
			_, _, err := c.Step(context.Background(), "root", NewKey("root", 1), func(dir string) error {
				runs.Add(1)
				time.Sleep(10 * time.Millisecond)
				return write(dir, "x")
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	builds.Wait()
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

func TestPruneKeepsWhatIsUsed(t *testing.T) {
	c := open(t)
	fill := func(dir string) error { return write(dir, "x") }
	old, _, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("n", "old"), fill)
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("n", "new"), fill)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	for _, dir := range []string{old, kept} {
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	if _, hit, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("n", "new"), fill); !hit || err != nil {
		t.Fatalf("hit %v, %v", hit, err)
	}
	removed, err := c.Prune(t.Context(), time.Now(), Keep{Age: 30 * time.Minute}, Steps)
	if removed.Entries != 1 || removed.Bytes == 0 || err != nil {
		t.Errorf("pruned %+v, %v", removed, err)
	}
	if exists(old) || !exists(kept) {
		t.Error("the wrong result was removed")
	}
}

func TestPruneKeepsWhatWasUsedLast(t *testing.T) {
	c := open(t)
	now := time.Now()
	var results []string // the last used first
	for i, size := range []int{1 << 20, 2 << 20, 3 << 20, 1 << 20} {
		dir, _, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("n", strconv.Itoa(i)), func(dir string) error {
			return write(dir, strings.Repeat("x", size))
		})
		if err != nil {
			t.Fatal(err)
		}
		used := now.Add(-time.Duration(i) * time.Minute)
		if err := os.Chtimes(dir, used, used); err != nil {
			t.Fatal(err)
		}
		results = append(results, dir)
	}
	removed, err := c.Prune(t.Context(), now, Keep{Age: time.Hour, Bytes: 4 << 20}, Steps)
	if removed.Entries != 2 || removed.Bytes < 4<<20 || err != nil {
		t.Errorf("pruned %+v, %v", removed, err)
	}
	// Not the last one either, though there were room for it.
	for i, want := range []bool{true, true, false, false} {
		if exists(results[i]) != want {
			t.Errorf("result %d is there: %v", i, !want)
		}
	}
}

func TestLeftoversOfKilledBuildsGoFirst(t *testing.T) {
	c := open(t)
	result, _, err := c.Step(t.Context(), "root", NewKey("root", 1), func(dir string) error { return write(dir, "x") })
	if err != nil {
		t.Fatal(err)
	}
	steps := filepath.Join(c.Dir(), Steps)
	leftovers := []string{filepath.Join(steps, ".new-root-123"), filepath.Join(steps, ".old-"+filepath.Base(result))}
	for _, dir := range leftovers {
		if err := errors.Join(os.Mkdir(dir, 0o755), write(dir, strings.Repeat("x", 1<<20))); err != nil {
			t.Fatal(err)
		}
	}
	// With room for the result alone: they take none of it.
	removed, err := c.Prune(t.Context(), time.Now(), Keep{Age: time.Hour, Bytes: 1 << 19}, Steps)
	if removed.Entries != 2 || err != nil || exists(leftovers[0]) || exists(leftovers[1]) || !exists(result) {
		t.Errorf("pruned %+v, %v", removed, err)
	}
	// A result of that name can go though something is where it would be moved to.
	if err := os.Mkdir(leftovers[1], 0o755); err != nil {
		t.Fatal(err)
	}
	if removed, err := c.Prune(t.Context(), time.Now(), Keep{}, Steps); removed.Entries != 2 || err != nil || exists(result) {
		t.Errorf("pruned %+v, %v", removed, err)
	}
}

func TestBuildsPruneNowAndThen(t *testing.T) {
	c := open(t)
	add := func() string {
		t.Helper()
		dir, _, err := c.Step(t.Context(), "root", NewKey("root", 1), func(dir string) error { return write(dir, "x") })
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	result := add()
	release, err := c.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PruneNowAndThen(t.Context(), time.Now(), Keep{}, Steps); !errors.Is(err, ErrInUse) || !exists(result) {
		t.Fatalf("in use: %v", err)
	}
	release()
	for i, want := range []bool{false, true} {
		result = add()
		if _, err := c.PruneNowAndThen(t.Context(), time.Now(), Keep{}, Steps); err != nil || exists(result) != want {
			t.Errorf("time %d: the result is there: %v, %v", i+1, !want, err)
		}
	}
	if _, err := c.PruneNowAndThen(t.Context(), time.Now().Add(2*nowAndThen), Keep{}, Steps); err != nil || exists(result) {
		t.Errorf("later: the result is there, %v", err)
	}
}

func TestNothingIsRemovedWhileABuildUsesTheCache(t *testing.T) {
	c := open(t)
	result, _, err := c.Step(t.Context(), "root", NewKey("root", 1), func(dir string) error { return write(dir, "x") })
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Use(t.Context())
	if err != nil {
		t.Fatalf("two builds: %v", err)
	}
	first()
	if _, err := c.Prune(t.Context(), time.Now(), Keep{}, Steps); !errors.Is(err, ErrInUse) || !exists(result) {
		t.Errorf("got %v", err)
	}
	second()
	// Not even a clock that was ahead keeps it.
	ahead := time.Now().Add(time.Hour)
	if err := os.Chtimes(result, ahead, ahead); err != nil {
		t.Fatal(err)
	}
	if removed, err := c.Prune(t.Context(), time.Now(), Keep{}, Steps, "no-such-folder"); err != nil || removed.Entries != 1 || exists(result) {
		t.Errorf("got %+v, %v", removed, err)
	}
}

func TestBuildWaitsUntilThePruningHasEnded(t *testing.T) {
	c := open(t)
	release, err := c.alone()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Use(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	release()
	if _, err := c.Use(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUsageTellsKindsByTheirSizeOnDisk(t *testing.T) {
	c := open(t)
	for _, input := range []string{"a", "b"} {
		_, _, err := c.Step(t.Context(), "root", NewKey("root", 1).Add("input", input), func(dir string) error {
			return write(dir, strings.Repeat(input, 100_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := c.Sub("debian")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hole"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "hole"), 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.Dir(), Steps, ".new-root-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	kinds, err := c.Usage("debian", "modules")
	if err != nil || len(kinds) != 3 || kinds[0].Name != "root" || kinds[0].Entries != 2 || kinds[0].Bytes < 200_000 {
		t.Fatalf("got %+v, %v", kinds, err)
	}
	for _, kind := range kinds[1:] {
		if kind.Bytes > 100_000 || kind.Entries != 1 || kind.Name != "debian" && kind.Name != "unfinished" {
			t.Errorf("got %+v", kind)
		}
	}
}

func TestFolderThatIsNoCacheIsNotTakenForOne(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenExisting(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if exists(filepath.Join(dir, Steps)) {
		t.Error("it has become one")
	}
	if _, err := OpenExisting(open(t).Dir()); err != nil {
		t.Error(err)
	}
}
