package strictyaml

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// check walks all nodes for what is refused whatever type they are decoded
// into.
func check(doc *Document, n *yaml.Node, path Path, depth int) {
	report := func(n *yaml.Node, path Path, text string) {
		doc.add(Problem{Line: n.Line, Column: n.Column, Path: path, Text: text})
	}
	switch {
	case n.Kind == yaml.AliasNode:
		report(n, path, "an alias (*) is not supported: write the value here, or put it in quotes if it is text")
		return
	case n.Anchor != "":
		report(n, path, "an anchor (&) is not supported: remove it, or put the value in quotes if it is text")
	case n.Style&yaml.TaggedStyle != 0:
		report(n, path, "a tag (!) is not supported: remove it, or put the value in quotes if it is text")
	}
	if depth > MaxDepth && n.Kind != yaml.ScalarNode {
		report(n, "", "values are nested more than 64 deep")
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, entry := range n.Content {
			check(doc, entry, path.Index(i), depth+1)
		}
	case yaml.MappingNode:
		seen := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if !checkKey(doc, key, path) {
				continue
			}
			p := path.Key(key.Value)
			if first := seen[key.Value]; first != nil {
				if isNull(value) && strings.Contains(key.Value, ":") {
					p = path // `token:K10…` without a space: the key holds a secret
				}
				doc.add(Problem{Line: key.Line, Column: key.Column, Path: p,
					Text: "this key is given twice, first on line " + strconv.Itoa(first.Line) + ": keep one"})
				continue
			}
			seen[key.Value] = key
			check(doc, value, p, depth+1)
		}
	}
}

// checkKey reports whether n can be a key: text, and nothing clever.
func checkKey(doc *Document, n *yaml.Node, path Path) bool {
	problem := Problem{Line: n.Line, Column: n.Column, Path: path}
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "", n.Style&yaml.TaggedStyle != 0:
		problem.Text = "a key has an anchor, an alias or a tag: these are not supported"
	case n.Kind != yaml.ScalarNode:
		problem.Text = "a key must be text: is a template placeholder not in quotes?"
	case n.Tag == "!!merge":
		problem.Text = "a merge key (<<) is not supported: write the keys here"
	case isNull(n):
		problem.Text = "a key is missing before the colon"
	case !isText(n):
		problem.Text = "the key " + n.Value + " is not text: put it in quotes"
		if len(n.Value) > maxEcho {
			problem.Text = "a key is not text: put it in quotes"
		}
	case strings.ContainsAny(n.Value, "\n\r"):
		problem.Text = "a key goes over more than one line"
	default:
		return true
	}
	doc.add(problem)
	return false
}

// isNull reports whether n is a value that was left out, or ~ or null.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && !isQuoted(n)
}

// isText reports whether every YAML program reads the scalar n as text. What
// looks like a date is text in YAML 1.2, and text is what callers get.
func isText(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	return isQuoted(n) || n.Tag == "!!str" || n.Tag == "!!timestamp" || n.Tag == "!!merge"
}

func isQuoted(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}
