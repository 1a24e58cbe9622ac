package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// page is a document in Markdown that is written from its start to its end.
type page struct{ bytes.Buffer }

func (p *page) heading(level int, text string) {
	fmt.Fprintf(p, "\n%s %s\n", strings.Repeat("#", level), text)
}

func (p *page) paragraph(format string, args ...any) {
	fmt.Fprintf(p, "\n%s\n", fmt.Sprintf(format, args...))
}

// table is a table of the page; its first row is the head.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

// write appends the table, with columns as wide as their widest cell so that
// the source can be read, too.
func (t table) write(p *page) {
	if len(t) == 0 {
		return
	}
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(escape(cell)))
		}
	}
	p.WriteString("\n")
	for n, row := range t {
		for i, width := range widths {
			cell := ""
			if i < len(row) {
				cell = escape(row[i])
			}
			fmt.Fprintf(p, "| %s%s ", cell, strings.Repeat(" ", width-utf8.RuneCountInString(cell)))
		}
		p.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprintf(p, "|%s", strings.Repeat("-", width+2))
			}
			p.WriteString("|\n")
		}
	}
}

// escape keeps a cell in its cell.
func escape(cell string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell)
}
