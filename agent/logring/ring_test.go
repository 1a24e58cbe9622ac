package logring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

// fixed is a ring whose clock stands still an hour after boot.
func fixed(bytes int) *Ring {
	return New(bytes, WithClock(func() time.Time { return epoch }, func() time.Duration { return time.Hour }))
}

func texts(entries []Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Text)
	}
	return out
}

func TestRingStaysWithinItsBytesAndKeepsTheNewest(t *testing.T) {
	const limit = 64 << 10
	r := fixed(limit)
	for i := range 20000 {
		r.Add("web", slog.LevelInfo, fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%300)))
		if r.bytes > limit {
			t.Fatalf("%d bytes after entry %d", r.bytes, i)
		}
	}
	all := r.Snapshot()
	sum := 0
	for i, e := range all {
		sum += e.cost()
		if i > 0 && e.Seq != all[i-1].Seq+1 {
			t.Fatalf("gap between %d and %d", all[i-1].Seq, e.Seq)
		}
	}
	if sum != r.bytes || sum < limit-1000 || all[len(all)-1].Seq != 20000 {
		t.Errorf("%d entries of %d bytes, counted %d", len(all), sum, r.bytes)
	}
	if len(r.entries) > 2*len(all)+130 {
		t.Errorf("%d slots for %d entries", len(r.entries), len(all))
	}
}

func TestAfterStartsBehindTheGivenEntry(t *testing.T) {
	r := fixed(10 * entryBytes)
	for i := 1; i <= 30; i++ {
		r.Add("", slog.LevelInfo, fmt.Sprint(i))
	}
	first := r.Snapshot()[0].Seq
	for seq, want := range map[uint64]int{0: int(31 - first), first: int(30 - first), 29: 1, 30: 0, 99: 0} {
		if got := r.After(seq); len(got) != want {
			t.Errorf("after %d: %d entries, want %d", seq, len(got), want)
		}
	}
	if got := fixed(0).After(0); got != nil {
		t.Errorf("empty ring: %v", got)
	}
}

func TestTailSelectsBySource(t *testing.T) {
	r := fixed(0)
	for i := range 6 {
		r.Add([]string{"a", "b"}[i%2], slog.LevelInfo, fmt.Sprint(i))
	}
	if got := texts(r.Tail("b", 2)); fmt.Sprint(got) != "[3 5]" {
		t.Error(got)
	}
	if got := texts(r.Tail("", 100)); len(got) != 6 || got[0] != "0" {
		t.Error(got)
	}
	if r.Tail("a", 0) != nil || r.Tail("c", 1) != nil {
		t.Error("found what is not there")
	}
}

func TestFollowerLosesRatherThanBlocks(t *testing.T) {
	r := fixed(0)
	ctx, cancel := context.WithCancel(t.Context())
	f := r.Subscribe(ctx)
	for i := range followBuffer + 7 {
		r.Add("", slog.LevelInfo, fmt.Sprint(i))
	}
	if f.Dropped() != 7 {
		t.Errorf("dropped %d", f.Dropped())
	}
	cancel()
	n := 0
	for range f.Entries() { // ends because the channel is closed
		n++
	}
	if n != followBuffer {
		t.Errorf("got %d", n)
	}
	r.Add("", slog.LevelInfo, "nobody listens")
}

func TestConcurrentUse(t *testing.T) {
	r := New(8 << 10)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			f := r.Subscribe(ctx)
			w := r.Writer("w", slog.LevelInfo)
			for i := range 300 {
				fmt.Fprintf(w, "%d\nand", i)
				r.Tail("w", 3)
				r.Snapshot()
			}
			w.Close()
			cancel()
			for range f.Entries() {
			}
		})
	}
	wg.Wait()
	if r.last != 8*301 {
		t.Errorf("%d entries", r.last)
	}
}

func TestControlCharactersAreEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                 "plain",
		"end\r\n":               "end",
		"a\nb\tc\rd":            `a\nb\tc\rd`,
		"\x1b[31mred\x1b[0m":    `\x1b[31mred\x1b[0m`,
		"nul\x00 del\x7f":       `nul\x00 del\x7f`,
		"grüße, 世界":             "grüße, 世界",
		"bad \xff\xc3 utf":      `bad \xff\xc3 utf`,
		"c1 \u009b ls \u2028":   `c1 \x9b ls \u2028`,
		"bidi \u202e over":      `bidi \u202e over`,
		"real \ufffd character": "real \ufffd character",
		"":                      "",
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestLongTextIsCutAtACharacterAndSaysSo(t *testing.T) {
	r := fixed(0)
	r.Add("", slog.LevelInfo, strings.Repeat("x", MaxLine))
	r.Add("", slog.LevelInfo, strings.Repeat("é", MaxLine))
	all := r.Snapshot()
	if len(all[0].Text) != MaxLine || strings.Contains(all[0].Text, "cut") {
		t.Error("text of just MaxLine was changed")
	}
	if got := all[1].Text; len(got) > MaxLine || !utf8.ValidString(got) || !strings.HasSuffix(got, "bytes more]") {
		t.Errorf("%d bytes, ends %q", len(got), got[len(got)-40:])
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b\xff\u202e\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
			t.Errorf("%q is not clean", got)
		}
		if again := Clean(got); again != got {
			t.Errorf("%q is cleaned again to %q", got, again)
		}
		if c := cut(got); len(c) > MaxLine || !utf8.ValidString(c) {
			t.Errorf("cut to %d bytes", len(c))
		}
	})
}

func TestWriterSplitsLinesWhateverTheWrites(t *testing.T) {
	stream := "one\ntwo\r\n\nlast without end"
	for size := 1; size <= len(stream); size++ {
		r := fixed(0)
		w := r.Writer("web", slog.LevelInfo)
		var tee []string
		w.OnLine = func(s string) { tee = append(tee, s) }
		for rest := stream; rest != ""; {
			n := min(size, len(rest))
			io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		w.Close()
		w.Close()
		if got := texts(r.Snapshot()); fmt.Sprintf("%q", got) != `["one" "two" "" "last without end"]` || fmt.Sprint(tee) != fmt.Sprint(got) {
			t.Fatalf("writes of %d: %q, tee %q", size, got, tee)
		}
	}
}

func TestWriterLosesNothingOfALongLine(t *testing.T) {
	for _, size := range []int{MaxLine, MaxLine + 1, 3*MaxLine + 17, 40 * MaxLine} {
		for _, piece := range []int{100, MaxLine, 1 << 20} {
			r := fixed(1 << 20)
			w := r.Writer("web", slog.LevelInfo)
			line := strings.Repeat("é", size/2) + strings.Repeat("x", size%2)
			for rest := line + "\nnext\n"; rest != ""; {
				n := min(piece, len(rest))
				io.WriteString(w, rest[:n])
				rest = rest[n:]
			}
			all := texts(r.Snapshot())
			joined := ""
			for _, s := range all[:len(all)-1] {
				if len(s) > MaxLine {
					t.Fatalf("entry of %d bytes", len(s))
				}
				joined += strings.TrimSuffix(s, continued)
			}
			if joined != line || all[len(all)-1] != "next" {
				t.Errorf("line of %d in writes of %d: %d entries, %d bytes", size, piece, len(all), len(joined))
			}
			if cap(w.partial) > 4*MaxLine {
				t.Errorf("writer keeps %d bytes", cap(w.partial))
			}
		}
	}
}

func TestSlogRecordsBecomeOneLine(t *testing.T) {
	r := fixed(0)
	log := slog.New(r.Handler("agent", slog.LevelInfo))
	log.Debug("not wanted")
	log.Info("plain")
	log.With("disk", "/dev/sda").WithGroup("io").Warn("slow\nread", "for", 3*time.Second, slog.Group("at", "lba", 8), "why", `say "x"`, "nothing", "")
	log.Error("broken", "err", errors.New("no medium"))
	all := r.Snapshot()
	want := []string{"plain", `slow\nread disk=/dev/sda io.for=3s io.at.lba=8 io.why="say \"x\"" io.nothing=""`, `broken err="no medium"`}
	if fmt.Sprintf("%q", texts(all)) != fmt.Sprintf("%q", want) {
		t.Errorf("%q", texts(all))
	}
	if got := all[1].String(); !strings.HasPrefix(got, "2026-01-02T03:04:05.678Z WARN agent: slow") {
		t.Error(got)
	}
}

// records gives one record or error with each Read, as /dev/kmsg does.
type records []any

func (q *records) Read(p []byte) (int, error) {
	if len(*q) == 0 {
		return 0, io.EOF
	}
	next := (*q)[0]
	*q = (*q)[1:]
	if err, ok := next.(error); ok {
		return 0, err
	}
	return copy(p, next.(string)), nil
}

func TestKernelMessagesKeepTimeLevelAndCountOverruns(t *testing.T) {
	r := fixed(0)
	err := r.readKernel(&records{
		"6,10,1500000,-;Linux version 6.12\n",
		"3,11,2000000,-,caller=T1;I/O error; sector 5\n SUBSYSTEM=block\n DEVICE=b8:0\n",
		syscall.EPIPE,
		"4,20,2000001,c;after the gap\n",
		"12,21,2000002,-;from a program\\x0a\n",
		syscall.EINVAL,
		"7,23,2000003,-;last",
		"nonsense",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		level        slog.Level
		source, text string
	}{
		{slog.LevelInfo, "kernel", "Linux version 6.12"},
		{slog.LevelError, "kernel", "I/O error; sector 5"},
		{slog.LevelWarn, "kernel", "8 kernel messages were overwritten before they could be read"},
		{slog.LevelWarn, "kernel", "after the gap"},
		{slog.LevelWarn, "kmsg", `from a program\x0a`},
		{slog.LevelWarn, "kernel", "1 kernel messages were overwritten before they could be read"},
		{slog.LevelDebug, "kernel", "last"},
		{slog.LevelWarn, "kernel", `kernel log record not understood: no ';' in "nonsense"`},
	}
	all := r.Snapshot()
	if len(all) != len(want) {
		t.Fatalf("%d entries: %q", len(all), texts(all))
	}
	for i, w := range want {
		if e := all[i]; e.Level != w.level || e.Source != w.source || e.Text != w.text {
			t.Errorf("entry %d: %v %s %q, want %v %s %q", i, e.Level, e.Source, e.Text, w.level, w.source, w.text)
		}
	}
	// The ring's clock stands an hour after boot.
	if got := epoch.Sub(all[1].Time); got != time.Hour-2*time.Second || all[1].Uptime != 2*time.Second {
		t.Errorf("message at 2 s of uptime is dated %v ago, uptime %v", got, all[1].Uptime)
	}
}

func TestKernelReaderEndsWithItsContext(t *testing.T) {
	name := t.TempDir() + "/kmsg"
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	keep, err := syscall.Open(name, syscall.O_RDWR, 0) // so that reads wait
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(keep)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r := fixed(0)
	go func() { done <- r.ReadKernel(ctx, name) }()
	f := r.Subscribe(t.Context())
	syscall.Write(keep, []byte("6,1,1,-;hello\n"))
	if e := <-f.Entries(); e.Text != "hello" {
		t.Error(e)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := r.ReadKernel(t.Context(), name+"x"); err == nil {
		t.Error("missing device accepted")
	}
}

func FuzzParseKmsg(f *testing.F) {
	f.Add([]byte("6,10,1500000,-;Linux\n KEY=v\n"))
	f.Add([]byte("4294967295,18446744073709551615,9007199254740993,-,a,b;;;"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseKmsg(b)
		if err == nil && (m.uptime < 0 || m.priority < 0 || strings.Contains(m.text, "\n")) {
			t.Errorf("%+v", m)
		}
		m.level()
	})
}
