package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Page returns the document about a run, in Markdown.
func (r *Run) Page() string {
	var p strings.Builder
	p.WriteString("# Conformance\n\n" +
		"`make conformance` wrote this page; do not edit it. It boots an image and runs conformance tests of Kubernetes on it, as\n" +
		"upstream wrote them. These are a part of conformance, named in [subset.txt](../tests/conformance/subset.txt), which says what is left\n" +
		"out and why: this page does not make Skerry a certified Kubernetes. The images that the tests use are made here, of what upstream's\n" +
		"are made of ([images.go](../tests/conformance/images.go)).\n\n")
	for _, row := range [][2]string{
		{"", ""},
		{"-", "-"},
		{"date", r.Date},
		{"sources", r.Sources},
		{"Kubernetes", r.Kubernetes},
		{"board", r.Board},
		{"machine", r.Machine},
		{"result", r.Summary()},
	} {
		fmt.Fprintf(&p, "|%s|%s|\n", row[0], row[1])
	}
	for _, part := range []struct {
		title string
		names []string
	}{
		{"Failed", r.Failed()},
		{"Did not run", r.NotRun()},
		{"Passed", r.Passed()},
	} {
		if len(part.names) == 0 {
			continue
		}
		fmt.Fprintf(&p, "\n## %s\n", part.title)
		groups := map[string][]string{}
		var order []string
		for _, name := range part.names {
			group, rest := split(name)
			if groups[group] == nil {
				order = append(order, group)
			}
			groups[group] = append(groups[group], rest)
		}
		slices.Sort(order)
		for _, group := range order {
			fmt.Fprintf(&p, "\n%s:\n\n", group)
			for _, name := range groups[group] {
				fmt.Fprintf(&p, "- `%s`\n", name)
			}
		}
	}
	return p.String()
}

var tags = regexp.MustCompile(`^\[([^\]]+)\] (.*?)( \[[^\] ]+\])*$`)

// split returns the group that a test is of, as in sig-node, and its name
// without that and without the tags behind it.
func split(name string) (group, rest string) {
	if parts := tags.FindStringSubmatch(name); parts != nil {
		return parts[1], parts[2]
	}
	return "others", name
}
