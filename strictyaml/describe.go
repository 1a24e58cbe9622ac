package strictyaml

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxEcho is how many bytes of a value an error repeats.
const maxEcho = 60

// echo shortens a value to what an error repeats.
func echo(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	end := maxEcho
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// describe says what n is, with its value unless that is secret.
func describe(n *yaml.Node, secret bool) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind != yaml.ScalarNode:
		return "an alias"
	case isNull(n):
		return "no value"
	}
	what := "the number"
	if isText(n) {
		what = "the text"
	} else if n.Tag == "!!bool" {
		what = "the boolean"
	}
	switch {
	case secret && isText(n):
		return "text"
	case secret:
		return strings.Replace(what, "the ", "a ", 1)
	case isText(n):
		return what + " " + strconv.Quote(echo(n.Value))
	}
	return what + " " + echo(n.Value)
}

// wanted says what belongs in the place of a Go type.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Duration]() || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "text"
	}
	switch t.Kind() {
	case reflect.Struct:
		var names []string
		for _, f := range fields(t) {
			names = append(names, f.name)
		}
		return "a mapping with keys such as " + strings.Join(names[:min(3, len(names))], ", ")
	case reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Interface:
		return "a value"
	}
	return "a whole number"
}

// explain says what belongs in the place of a Go type that refused a text with
// err. The errors of package netip say what is wrong in the terms of a parser.
func explain(t reflect.Type, err error) string {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return "an IP address belongs here, as in 192.0.2.1"
	case reflect.TypeFor[netip.Prefix]():
		return "an address and its prefix length belong here, as in 192.0.2.17/24"
	}
	return err.Error()
}

// isDecimal reports whether all programs read s as the same whole number.
func isDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func notDecimal(n *yaml.Node, secret bool) string {
	text := "found " + describe(n, secret)
	digits := strings.TrimLeft(n.Value, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return text + ": a leading zero means octal to some programs and decimal to others"
	}
	return text + ": not all programs read this number alike"
}

// suggest names the known key that was probably meant, or all of them.
func suggest(key string, known []string) string {
	best, distance := "", 3
	for _, name := range known {
		d := editDistance(strings.ToLower(key), strings.ToLower(name))
		if d < distance && d < max(2, len(name)/2) {
			best, distance = name, d
		}
	}
	if best != "" && key != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	sorted := slices.Sorted(slices.Values(known))
	return "known are: " + strings.Join(sorted, ", ")
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b (optimal string alignment).
func editDistance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, above, row := rows[0], rows[1], rows[2]
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
