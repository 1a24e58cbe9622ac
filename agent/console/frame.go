package console

import (
	"strconv"
	"unicode/utf8"
)

// style is how a cell looks: an index into styles.
type style uint8

const (
	plain style = iota
	title
	label
	good
	warn
	bad
	dim
)

// styles are the SGR parameters (console_codes(4)) of each style, in the 16
// colours every terminal has. Each begins with a reset, so that none depends on
// the one before.
var styles = [...]string{
	plain: "0",
	title: "0;1;37;44",
	label: "0;36",
	good:  "0;32",
	warn:  "0;1;33",
	bad:   "0;1;31",
	dim:   "0;1;30",
}

type cell struct {
	char  rune
	style style
}

// frame is what a screen shows: rows of cells.
type frame struct {
	width, height int
	cells         []cell
}

func newFrame(width, height int) *frame {
	f := &frame{width: width, height: height, cells: make([]cell, width*height)}
	for i := range f.cells {
		f.cells[i].char = ' '
	}
	return f
}

func (f *frame) row(y int) []cell { return f.cells[y*f.width : (y+1)*f.width] }

// put writes text at column x of row y and returns the column after it. Text
// that does not fit ends in dots.
func (f *frame) put(x, y int, text string, s style) int {
	if y < 0 || y >= f.height || x >= f.width {
		return x
	}
	row := f.row(y)
	room := f.width - x
	long := utf8.RuneCountInString(text) > room
	for _, r := range text {
		if x == f.width || long && room <= 3 {
			break
		}
		row[x] = cell{r, s}
		x++
		room--
	}
	for ; long && x < f.width; x++ {
		row[x] = cell{'.', s}
	}
	return x
}

// fill gives the rest of row y from column x one character.
func (f *frame) fill(x, y int, r rune, s style) {
	row := f.row(y)
	for ; x < f.width; x++ {
		row[x] = cell{r, s}
	}
}

// Sequences of console_codes(4).
const (
	// UTF-8 on, screen blanking and power-down off, no cursor, no wrapping at
	// the right edge: the last cell of the last row would scroll the screen.
	takeScreen = "\x1b%G\x1b[9;0]\x1b[14;0]\x1b[?25l\x1b[?7l\x1b[0m\x1b[2J"
	// All of that but blanking undone, for lines of text from the top.
	leaveScreen = "\x1b[0m\x1b[2J\x1b[1;1H\x1b[?7h\x1b[?25h"
)

// draw returns the bytes that make a screen that shows old show f. Only rows
// that differ are written, each as a whole and without erasing anything first,
// so nothing flickers. old is nil for a screen whose contents are unknown.
func (f *frame) draw(old *frame) []byte {
	if old != nil && (old.width != f.width || old.height != f.height) {
		old = nil
	}
	var out []byte
	for y := range f.height {
		row := f.row(y)
		if old != nil && equal(row, old.row(y)) {
			continue
		}
		out = append(out, "\x1b["...)
		out = strconv.AppendInt(out, int64(y+1), 10)
		out = append(out, ";1H"...)
		last := style(255)
		for _, c := range row {
			if c.style != last {
				last = c.style
				out = append(out, "\x1b["...)
				out = append(out, styles[last]...)
				out = append(out, 'm')
			}
			out = utf8.AppendRune(out, c.char)
		}
	}
	return out
}

func equal(a, b []cell) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
