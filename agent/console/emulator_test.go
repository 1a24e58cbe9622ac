package console

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// emulator is as much of the kernel's terminal (console_codes(4)) as this
// package may use. Anything else, and any attempt to scroll while the screen is
// drawn, is an error.
type emulator struct {
	width, height int
	cells         []cell
	sgr           string
	x, y          int
	nowrap        bool
	cursor        bool
	blanking      bool
	utf8          bool
	rest          []byte // an unfinished sequence or character
	err           error
	scrolled      int
	moves         int // times the cursor was placed: rows drawn
}

func newEmulator(width, height int) *emulator {
	e := &emulator{width: width, height: height, cursor: true, blanking: true, sgr: "0"}
	e.clear()
	return e
}

func (e *emulator) clear() {
	e.cells = make([]cell, e.width*e.height)
	for i := range e.cells {
		e.cells[i] = cell{char: ' '}
	}
}

func (e *emulator) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

func (e *emulator) Write(p []byte) (int, error) {
	in := append(e.rest, p...)
	for len(in) > 0 {
		if in[0] == 0x1b {
			n := sequenceLength(in)
			if n == 0 {
				break
			}
			e.sequence(string(in[1:n]))
			in = in[n:]
			continue
		}
		if !utf8.FullRune(in) {
			break
		}
		r, n := utf8.DecodeRune(in)
		in = in[n:]
		e.char(r)
	}
	e.rest = append([]byte(nil), in...)
	return len(p), nil
}

func sequenceLength(in []byte) int {
	if len(in) < 2 {
		return 0
	}
	if in[1] == '%' {
		if len(in) < 3 {
			return 0
		}
		return 3
	}
	for i := 2; i < len(in); i++ {
		if in[i] >= 0x40 && in[i] <= 0x7e {
			return i + 1
		}
	}
	return 0
}

func (e *emulator) sequence(s string) {
	switch {
	case s == "%G":
		e.utf8 = true
	case s == "[9;0]":
		e.blanking = false
	case s == "[14;0]":
	case s == "[?25l", s == "[?25h":
		e.cursor = s == "[?25h"
	case s == "[?7l", s == "[?7h":
		e.nowrap = s == "[?7l"
	case s == "[2J":
		e.clear()
	case strings.HasSuffix(s, "m"):
		e.sgr = strings.TrimSuffix(s[1:], "m")
	case strings.HasSuffix(s, "H"):
		row, column, _ := strings.Cut(strings.TrimSuffix(s[1:], "H"), ";")
		y, err1 := strconv.Atoi(row)
		x, err2 := strconv.Atoi(column)
		if err1 != nil || err2 != nil || y < 1 || y > e.height || x < 1 || x > e.width {
			e.fail("cursor to %q on %dx%d", s, e.width, e.height)
			return
		}
		e.x, e.y = x-1, y-1
		e.moves++
	default:
		e.fail("sequence ESC %q is not one of ours", s)
	}
}

func (e *emulator) char(r rune) {
	switch {
	case r == '\n':
		if e.nowrap {
			e.fail("a line feed on a drawn screen")
		}
		e.x = 0
		e.down()
		return
	case r < ' ' || r == 0x7f || r >= 0x80 && r != '─':
		e.fail("character %q reached the screen", r)
		return
	}
	if e.x == e.width {
		if e.nowrap {
			e.fail("text beyond the right edge of row %d", e.y)
			return
		}
		e.x = 0
		e.down()
	}
	shown := plain
	for i, sgr := range styles {
		if sgr == e.sgr {
			shown = style(i)
		}
	}
	e.cells[e.y*e.width+e.x] = cell{r, shown}
	e.x++
}

func (e *emulator) down() {
	if e.y++; e.y < e.height {
		return
	}
	e.y = e.height - 1
	e.scrolled++
	copy(e.cells, e.cells[e.width:])
	for i := len(e.cells) - e.width; i < len(e.cells); i++ {
		e.cells[i] = cell{char: ' '}
	}
}

// text is the screen as text, and styled the style of each cell as a digit.
func (e *emulator) text() string   { return e.rows(func(c cell) rune { return c.char }) }
func (e *emulator) styled() string { return e.rows(func(c cell) rune { return rune('0' + c.style) }) }

func (e *emulator) rows(show func(cell) rune) string {
	var b strings.Builder
	for y := range e.height {
		b.WriteByte('|')
		for _, c := range e.cells[y*e.width : (y+1)*e.width] {
			b.WriteRune(show(c))
		}
		b.WriteString("|\n")
	}
	return b.String()
}
