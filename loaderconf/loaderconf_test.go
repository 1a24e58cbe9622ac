package loaderconf

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// medium records what is written to it between syncs.
type medium struct {
	bytes  []byte
	writes []write
	fail   error
}

type write struct {
	at   int64
	data []byte // nil for a sync
}

func (m *medium) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(m.bytes).ReadAt(b, at)
}

func (m *medium) WriteAt(b []byte, at int64) (int, error) {
	m.writes = append(m.writes, write{at, bytes.Clone(b)})
	return copy(m.bytes[at:], b), m.fail
}

func (m *medium) Sync() error {
	m.writes = append(m.writes, write{})
	return nil
}

func newMedium(t *testing.T, entry string, settings ...string) *medium {
	t.Helper()
	b, err := New(entry, settings...)
	if err != nil {
		t.Fatal(err)
	}
	return &medium{bytes: b}
}

func TestDefaultFollowsEachCommit(t *testing.T) {
	m := newMedium(t, "skerry-1.0.0.efi", "timeout 0", "editor no")
	for i := range 5 {
		entry := fmt.Sprintf("skerry-1.%d.efi", i)
		if err := SetDefault(m, entry); err != nil {
			t.Fatal(err)
		}
		if got := Default(m.bytes); got != entry || len(m.bytes) != Size {
			t.Errorf("default is %q in %d bytes, want %q", got, len(m.bytes), entry)
		}
		if !strings.HasPrefix(string(m.bytes), "timeout 0\neditor no\n") {
			t.Errorf("settings are lost: %q", m.bytes)
		}
	}
	before := len(m.writes)
	if err := SetDefault(m, "skerry-1.4.efi"); err != nil || len(m.writes) != before {
		t.Errorf("the same default again was written, %v", err)
	}
}

// A power cut leaves any prefix of the writes, and of the write in flight any
// mixture of old and new bytes; here every prefix, suffix and single byte.
func TestPowerCutLeavesOldOrNewDefault(t *testing.T) {
	const before, after = "skerry-1.9.9.efi", "skerry-2.0.0-rc.1.efi"
	for commits := range 3 {
		m := newMedium(t, "skerry-0.0.1.efi")
		for i := range commits {
			if err := SetDefault(m, fmt.Sprintf("skerry-0.1.%d.efi", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := SetDefault(m, before); err != nil {
			t.Fatal(err)
		}
		state := bytes.Clone(m.bytes)
		m.writes = nil
		if err := SetDefault(m, after); err != nil {
			t.Fatal(err)
		}
		states, old := 0, 0
		check := func(b []byte) {
			t.Helper()
			states++
			switch got := Default(b); got {
			case before:
				old++
			case after:
			default:
				t.Errorf("after %d commits: default %q", commits, got)
			}
			if _, err := Read(&medium{bytes: b}); err != nil {
				t.Errorf("after %d commits: cannot be changed again: %v", commits, err)
			}
			again := &medium{bytes: bytes.Clone(b)}
			if err := SetDefault(again, after); err != nil || Default(again.bytes) != after {
				t.Errorf("after %d commits: second try: %v", commits, err)
			}
		}
		for _, w := range m.writes {
			for cut := range len(w.data) + 1 {
				prefix, suffix, single := bytes.Clone(state), bytes.Clone(state), bytes.Clone(state)
				copy(prefix[w.at:], w.data[:cut])
				copy(suffix[int(w.at)+cut:], w.data[cut:])
				check(prefix)
				check(suffix)
				if cut < len(w.data) {
					single[int(w.at)+cut] = w.data[cut]
					check(single)
				}
			}
			copy(state[w.at:], w.data)
		}
		if old == 0 || old == states {
			t.Errorf("of %d states %d have the old default", states, old)
		}
		for i, w := range m.writes {
			if i%2 == 1 && w.data != nil {
				t.Error("two writes without a sync between them")
			}
		}
	}
}

func TestDefaultReadsLikeSystemdBoot(t *testing.T) {
	for contents, want := range map[string]string{
		"":                                     "",
		"timeout 3\n":                          "",
		"default skerry-1.efi":                 "skerry-1.efi",
		"default\tSkerry-1.EFI \t\r\n":         "skerry-1.efi",
		"default a.efi\ndefault b.efi\n":       "b.efi",
		"default a.efi\n#default b.efi\n":      "a.efi",
		"  default a.efi\ndefaultx b.efi\n":    "a.efi",
		"default a.efi\n  # default b.efi\n\n": "a.efi",
	} {
		if got := Default([]byte(contents)); got != want {
			t.Errorf("%q: %q, want %q", contents, got, want)
		}
	}
}

func TestForeignLayoutIsNotTouched(t *testing.T) {
	good, _ := New("a.efi")
	for name, b := range map[string][]byte{
		"short": []byte("default a.efi\n"), "long": append(bytes.Clone(good), '\n'), "shifted": append(good[1:], '\n'), "empty": nil,
	} {
		m := &medium{bytes: bytes.Clone(b)}
		if err := SetDefault(m, "b.efi"); err == nil || len(m.writes) != 0 {
			t.Errorf("%s: error %v, %d writes", name, err, len(m.writes))
		}
	}
}

func TestNamesSystemdBootReadsOtherwiseAreRefused(t *testing.T) {
	for _, entry := range []string{"", "skerry-1.0+3.efi", "skerry-*.efi", "Skerry.efi", "a b.efi", "a\n.efi", strings.Repeat("x", MaxEntry+1)} {
		if _, err := New(entry); err == nil {
			t.Errorf("New accepted %q", entry)
		}
		if err := SetDefault(newMedium(t, "a.efi"), entry); err == nil {
			t.Errorf("SetDefault accepted %q", entry)
		}
	}
	if m := newMedium(t, strings.Repeat("x", MaxEntry)); Default(m.bytes) != strings.Repeat("x", MaxEntry) {
		t.Error("the longest name does not fit")
	}
	for _, setting := range []string{"default b.efi", "a\nb", strings.Repeat("x", 200)} {
		if _, err := New("a.efi", setting); err == nil {
			t.Errorf("setting %q was accepted", setting)
		}
	}
}

func TestFailedWriteIsReported(t *testing.T) {
	m := newMedium(t, "a.efi")
	m.fail = io.ErrShortWrite
	if err := SetDefault(m, "b.efi"); err == nil {
		t.Error("no error")
	}
}

func FuzzDefault(f *testing.F) {
	b, _ := New("a.efi", "timeout 0")
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		Default(b)
		Read(&medium{bytes: b})
	})
}
