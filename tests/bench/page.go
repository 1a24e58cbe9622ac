package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// document is the whole page: the text of each part, by its name.
type document map[string]string

const introduction = `# Benchmarks

` + "`make bench`" + ` wrote this page; do not edit it. Figures are medians, with the smallest and the largest in parentheses. They hold for the machine that each part names and for nothing else: compare ratios, which are between two things measured in the same run. Budgets are what the project holds itself to; nothing fails when one is missed.
`

// partMark stands before a part of the document.
var partMark = regexp.MustCompile(`(?m)^<!-- part (\w+) -->\n`)

func (d document) String() string {
	var text strings.Builder
	text.WriteString(introduction)
	for _, p := range parts {
		if part, ok := d[p.name]; ok {
			fmt.Fprintf(&text, "\n<!-- part %s -->\n%s\n", p.name, strings.Trim(part, "\n"))
		}
	}
	return text.String()
}

// parseDocument returns the parts of a document that was written before.
func parseDocument(text string) document {
	d := document{}
	marks := partMark.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		d[text[m[2]:m[3]]] = text[m[1]:end]
	}
	return d
}

// page is a text in Markdown that is written from its start to its end.
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
