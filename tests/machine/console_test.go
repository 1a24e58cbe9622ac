package machine

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const soon = 10 * time.Second

func TestLinesAreFoundInOrderAndWithoutSequences(t *testing.T) {
	c := NewConsole()
	c.Follow(strings.NewReader("\x1b[2J\x1b[01;01H\x1b[=3hone\r\ntwo 2\r\n\x1b[0;32mone\x1b(B\nend"))
	if want := []string{"one", "two 2", "one", "end"}; !slices.Equal(c.Lines(), want) {
		t.Errorf("got %q, want %q", c.Lines(), want)
	}
	groups, err := c.Expect(`^two (\d)$`, soon)
	if err != nil || groups[1] != "2" {
		t.Errorf("got %q, %v", groups, err)
	}
	if _, err := c.Expect(`^one$`, soon); err != nil {
		t.Errorf("the line behind is not found: %v", err)
	}
	if _, err := c.Expect(`^one$`, soon); err == nil || !strings.Contains(err.Error(), "the machine ended") {
		t.Errorf("a line was found again: %v", err)
	}
}

func TestLineMayComeInPieces(t *testing.T) {
	c := NewConsole()
	r, w := io.Pipe()
	go c.Follow(r)
	go func() {
		for _, piece := range []string{"skerry: no", "de up\x1b", "[0m: a\r", "\n"} {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	}()
	if _, err := c.Expect(`^skerry: node up: a$`, soon); err != nil {
		t.Error(err)
	}
	w.Close()
}

func TestFatalLineEndsTheWaitUnlessItIsWaitedFor(t *testing.T) {
	text := "a\n[    1.2] Kernel panic - not syncing: x\nskerry: node up: a\n"
	c := NewConsole()
	c.add(text, false)
	if _, err := c.Expect("node up", soon); err == nil || !strings.Contains(err.Error(), "not syncing: x") {
		t.Errorf("the panic went by: %v", err)
	}
	if _, err := c.Expect("Kernel panic", soon); err != nil {
		t.Error(err)
	}
	if _, err := c.Expect("node up", soon); err != nil {
		t.Error(err)
	}
}

func TestDeadlineShowsTheLastLines(t *testing.T) {
	c := NewConsole()
	c.add("first\nunfinished", false)
	_, err := c.Expect("never", time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "| first\n") || !strings.Contains(err.Error(), "| unfinished...") {
		t.Errorf("got %v", err)
	}
}
