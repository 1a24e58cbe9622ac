package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parse returns the root node of the only document in data, or nil when there
// is nothing but comments.
func parse(name string, data []byte) (*yaml.Node, *Problem) {
	docs, err := parseDocuments(bytes.NewReader(data))
	if err != nil {
		return nil, syntaxProblem(name, data)
	}
	switch {
	case len(docs) == 0:
		return nil, nil
	case len(docs) > 1:
		return nil, &Problem{
			File: name, Line: docs[1].Line, Column: docs[1].Column,
			Text: `a second document begins here: remove the line "---" and keep one document`,
		}
	}
	root := docs[0].Content[0]
	if isNull(root) && root.Anchor == "" && root.Style&yaml.TaggedStyle == 0 && root.Value == "" {
		return nil, nil
	}
	return root, nil
}

// parseDocuments parses at most two documents.
func parseDocuments(r io.Reader) (docs []*yaml.Node, err error) {
	// The parser reports by panicking and lets through what it takes for an
	// error of its own. In PID 1 that would stop the machine.
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("parser failed: %v", v)
		}
	}()
	decoder := yaml.NewDecoder(r)
	for len(docs) < 2 {
		node := new(yaml.Node)
		if err := decoder.Decode(node); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		docs = append(docs, node)
	}
	return docs, nil
}

// complaint is what the parser says about data, without what it quotes from
// it, and the number of the line it names.
type complaint struct {
	text string
	line int
}

var complaintPattern = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// complain parses data. A line is put before it, because the parser says no
// line when it means the first.
func complain(data []byte) complaint {
	_, err := parseDocuments(io.MultiReader(strings.NewReader("#\n"), bytes.NewReader(data)))
	if err == nil {
		return complaint{}
	}
	parts := complaintPattern.FindStringSubmatch(err.Error())
	if parts == nil {
		return complaint{text: "the text cannot be parsed"}
	}
	line, _ := strconv.Atoi(parts[1])
	if strings.HasPrefix(parts[2], "unknown anchor") {
		parts[2] = "unknown anchor"
	}
	return complaint{parts[2], line - 1}
}

// syntaxProblem says where and why data cannot be parsed. The parser's own
// errors name a line at best, often that of something around the mistake, and
// never a column. The place is found by asking for the shortest beginning of
// the file that is complained about in the same way: it ends with the mistake.
// First in whole lines, since half a line can be wrong in a way of its own.
func syntaxProblem(name string, data []byte) *Problem {
	full := complain(data)
	var ends []int // of lines
	for i, c := range data {
		if c == '\n' || i == len(data)-1 {
			ends = append(ends, i+1)
		}
	}
	line := sort.Search(len(ends)-1, func(i int) bool { return complain(data[:ends[i]]) == full })
	start := 0
	if line > 0 {
		start = ends[line-1]
	}
	at := start + sort.Search(ends[line]-1-start, func(i int) bool { return complain(data[:start+i+1]) == full })
	message := full.text
	has := func(part string) bool { return strings.Contains(full.text, part) }
	near := func(chars string) bool { // is one of chars at the place or just before it?
		from := max(0, at-3)
		i := bytes.LastIndexAny(data[from:at+1], chars)
		if i >= 0 {
			at = from + i
		}
		return i >= 0
	}
	switch {
	case has("cannot start any token"), has("tab character"):
		message = "a tab is used as indentation: use spaces"
		if near("\t@`%") && data[at] != '\t' {
			message = fmt.Sprintf("a value cannot begin with %q: put it in quotes", data[at])
		}
	case has("mapping values are not allowed"):
		near(":")
		message = `a ": " is not expected here: is the line above complete, is the indentation right, does a value with ": " need quotes?`
	case has("could not find expected ':'"):
		at = lineStart(data, full.line)
		message = `no ": " is found on this line: a key, a colon, a space and a value are needed`
	case has("escape"):
		near(`\`)
		message = `this escape is not known: write \\ for a backslash, or use single quotes`
	case has("unknown anchor"), has("alphabetic or numeric"):
		near("*&")
		message = "a value cannot begin with * or &: put it in quotes (anchors and aliases are not supported)"
	case has("unexpected end of stream"), has("unexpected document indicator"):
		at = lineStart(data, full.line)
		if i := bytes.IndexAny(data[at:], `"'`); i >= 0 {
			at += i
		}
		message = "the quotes opened here are not closed"
	case has("max depth"):
		message = "values are nested too deeply"
	case has("did not find expected key"), has("did not find expected '-' indicator"):
		message = "this does not continue what is above it: check indentation and quotes"
	case has("did not find expected ',' or"):
		message = "a list or mapping in brackets is not continued or closed here: a comma or a bracket is missing"
	case has("expected node content"):
		message = "a value is expected here"
	case has("<document start>"):
		message = "this is text after the end of the document"
	}
	if message == "" {
		message = "the text cannot be parsed"
	}
	for at > 0 && !utf8.RuneStart(data[at]) {
		at--
	}
	before := data[:at]
	return &Problem{
		File: name, Line: bytes.Count(before, []byte{'\n'}) + 1,
		Column: utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
		Text:   message,
	}
}

// lineStart returns where the text of a line, counted from 1, begins.
func lineStart(data []byte, line int) int {
	at := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			break
		}
		at += i + 1
	}
	for at < len(data)-1 && (data[at] == ' ' || data[at] == '\t') {
		at++
	}
	return at
}
