package machine

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// fatal are lines after which nothing good comes. A test that expects one says
// so by waiting for it.
var fatal = regexp.MustCompile(`Kernel panic - |skerry: this boot cannot go on|No bootable option or device was found|Boot Failed|UEFI Interactive Shell`)

// sequences are the escape sequences of ECMA-48 and of terminals, and carriage
// returns: firmware draws its screen on the serial line, too.
var sequences = regexp.MustCompile(`\x1b\[[0-9:;<=>?]*[ -/]*[@-~]|\x1b[()%#][ -~]|\x1b[ -Z\\^-~]|[\r\x00]`)

// shownLines is how much of a console an error shows.
const shownLines = 25

// Console is what a machine printed so far, line by line. One goroutine adds
// to it, another one looks for lines.
type Console struct {
	mu      sync.Mutex
	lines   []string
	seen    int           // lines before it are not looked at again
	partial string        // of a line that has not ended
	ended   bool          // nothing more will come
	changed chan struct{} // closed when any of these changed
}

// NewConsole returns a Console without lines.
func NewConsole() *Console { return &Console{changed: make(chan struct{})} }

// Follow adds what r has until it ends.
func (c *Console) Follow(r io.Reader) {
	reader := bufio.NewReader(r)
	chunk := make([]byte, 4096)
	for {
		n, err := reader.Read(chunk)
		c.add(string(chunk[:n]), err != nil)
		if err != nil {
			return
		}
	}
}

func (c *Console) add(text string, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial += text
	for {
		line, rest, ok := strings.Cut(c.partial, "\n")
		if !ok {
			break
		}
		c.lines = append(c.lines, sequences.ReplaceAllString(line, ""))
		c.partial = rest
	}
	if ended && c.partial != "" {
		c.lines = append(c.lines, sequences.ReplaceAllString(c.partial, ""))
		c.partial = ""
	}
	c.ended = c.ended || ended
	close(c.changed)
	c.changed = make(chan struct{})
}

// Expect waits for a line that the pattern matches, behind those that earlier
// calls found, and returns it and its groups as FindStringSubmatch does. It
// fails when the deadline is over, when the console ends, and on a line that
// says that all is lost.
func (c *Console) Expect(pattern string, deadline time.Duration) ([]string, error) {
	return c.wait(pattern, deadline, true)
}

// Poll is Expect for a line that may well not come: the lines it looked at in
// vain are looked at again.
func (c *Console) Poll(pattern string, deadline time.Duration) ([]string, error) {
	return c.wait(pattern, deadline, false)
}

func (c *Console) wait(pattern string, deadline time.Duration, stopAtFatal bool) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	for at := c.position(); ; {
		lines, ended, changed := c.from(at)
		for i, line := range lines {
			if groups := re.FindStringSubmatch(line); groups != nil {
				c.setPosition(at + i + 1)
				return groups, nil
			}
			if stopAtFatal && fatal.MatchString(line) {
				return nil, fmt.Errorf("waited for %q, but the machine says: %s\n%s", pattern, line, c.Tail(shownLines))
			}
		}
		at += len(lines)
		if ended {
			return nil, fmt.Errorf("waited for %q, but the machine ended\n%s", pattern, c.Tail(shownLines))
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, fmt.Errorf("waited for %q in vain for %v\n%s", pattern, deadline, c.Tail(shownLines))
		}
	}
}

func (c *Console) position() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

func (c *Console) setPosition(at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = at
}

func (c *Console) from(at int) (lines []string, ended bool, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[at:], c.ended, c.changed
}

// Lines returns all lines so far.
func (c *Console) Lines() []string {
	lines, _, _ := c.from(0)
	return lines
}

// Tail returns the last lines, each indented, an unfinished one included.
func (c *Console) Tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, line := range c.lines[max(0, len(c.lines)-n):] {
		fmt.Fprintf(&b, "    | %s\n", line)
	}
	if rest := sequences.ReplaceAllString(c.partial, ""); rest != "" {
		fmt.Fprintf(&b, "    | %s...\n", rest)
	}
	return b.String()
}
