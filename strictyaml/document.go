package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Path names a value in a document, as in `network.interfaces[0].mtu`. The
// empty path is the whole document. Keys that hold anything but letters,
// digits, `_` and `-` are quoted: `kernel.sysctls["vm.swappiness"]`.
type Path string

// Key returns the path of a key of the mapping at p.
func (p Path) Key(key string) Path {
	plain := key != ""
	for i := 0; i < len(key) && plain; i++ {
		c := key[i] | 0x20
		plain = c >= 'a' && c <= 'z' || key[i] >= '0' && key[i] <= '9' || key[i] == '_' || key[i] == '-'
	}
	switch {
	case !plain:
		return p + Path("["+strconv.Quote(key)+"]")
	case p == "":
		return Path(key)
	}
	return p + "." + Path(key)
}

// Index returns the path of the entry i, from 0, of the list at p.
func (p Path) Index(i int) Path { return p + Path("["+strconv.Itoa(i)+"]") }

// next splits off the first step of the path.
func (p Path) next() (key string, index int, rest Path, ok bool) {
	s := strings.TrimPrefix(string(p), ".")
	if strings.HasPrefix(s, `["`) {
		quoted, err := strconv.QuotedPrefix(s[1:])
		if err != nil {
			return "", 0, "", false
		}
		key, _ = strconv.Unquote(quoted)
		after, ok := strings.CutPrefix(s[1+len(quoted):], "]")
		return key, -1, Path(after), ok
	}
	if strings.HasPrefix(s, "[") {
		number, after, _ := strings.Cut(s[1:], "]")
		i, err := strconv.Atoi(number)
		return "", i, Path(after), err == nil
	}
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	return s[:end], -1, Path(s[end:]), s != ""
}

// within reports whether p is q or something in it.
func (p Path) within(q Path) bool {
	rest, ok := strings.CutPrefix(string(p), string(q))
	return ok && (q == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// Problem is one thing wrong with a file.
type Problem struct {
	File         string
	Line, Column int  // from 1; columns count characters
	Path         Path // empty if the problem is with the text itself
	Text         string
}

// Error returns "file:line:column: key.path: text".
func (p Problem) Error() string {
	path := ""
	if p.Path != "" {
		path = string(p.Path) + ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s", p.File, p.Line, p.Column, path, p.Text)
}

// Error is all that is wrong with a file, sorted by position.
type Error struct {
	Problems []Problem
	Omitted  int // problems beyond those
}

// Error returns the problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.Error())
	}
	if e.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more problems", e.Problems[0].File, e.Omitted))
	}
	return strings.Join(lines, "\n")
}

// Document is a parsed file, kept to tell positions.
type Document struct {
	name     string
	root     *yaml.Node // nil if the file holds nothing but comments
	problems []Problem
	omitted  int
}

// Empty reports whether the file holds nothing but comments.
func (d *Document) Empty() bool { return d.root == nil }

// Has reports whether the document has a value at p, even one that could not be used.
func (d *Document) Has(p Path) bool {
	_, _, found := d.find(p)
	return found && d.root != nil
}

// Position returns line and column, from 1, of the value at p. If there is
// none, it is the position of the key of the innermost mapping that could have
// it.
func (d *Document) Position(p Path) (line, column int) {
	if d.root == nil {
		return 1, 1
	}
	node, key, found := d.find(p)
	if !found && key != nil {
		node = key
	}
	return node.Line, node.Column
}

// find returns the node at p, or the innermost one on the way to it, and the
// key that this node is the value of.
func (d *Document) find(p Path) (node, key *yaml.Node, found bool) {
	if node = d.root; node == nil {
		return nil, nil, false
	}
	for p != "" {
		name, index, rest, ok := p.next()
		if !ok {
			return node, key, false
		}
		var nextKey, next *yaml.Node
		if index >= 0 {
			if node.Kind == yaml.SequenceNode && index < len(node.Content) {
				next = node.Content[index]
			}
		} else if node.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(node.Content) && next == nil; i += 2 {
				if node.Content[i].Value == name {
					nextKey, next = node.Content[i], node.Content[i+1]
				}
			}
		}
		if next == nil {
			return node, key, false
		}
		node, key, p = next, nextKey, rest
	}
	return node, key, true
}

// Errorf records a problem with the value at p, at its position. It is not
// recorded if another problem with this value, with something in it or with
// something around it is known: one mistake is told once.
func (d *Document) Errorf(p Path, format string, args ...any) {
	if d.Failed(p) {
		return
	}
	line, column := d.Position(p)
	d.add(Problem{Line: line, Column: column, Path: p, Text: fmt.Sprintf(format, args...)})
}

// Failed reports whether a problem is known with the value at p, with something
// in it or with something around it, so that the value cannot be relied on.
func (d *Document) Failed(p Path) bool {
	for _, known := range d.problems {
		if known.Path != "" && (p.within(known.Path) || p != "" && known.Path.within(p)) {
			return true
		}
	}
	return false
}

func (d *Document) add(p Problem) {
	if len(d.problems) == maxProblems {
		d.omitted++
		return
	}
	p.File = d.name
	d.problems = append(d.problems, p)
}

// Err returns an *Error with everything found so far, or nil.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	problems := slices.Clone(d.problems)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Problems: problems, Omitted: d.omitted}
}
