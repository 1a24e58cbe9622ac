// Package conformance chooses among Kubernetes' own conformance tests, makes the
// container images that these need, and writes down what became of them.
//
// The tests are upstream's, unchanged, compiled from the modules of go.mod by
// package e2e below. The images are not: no image is downloaded, so each is
// made here of what upstream's has too. `make conformance` boots a node and
// runs all of it (tests/conformance_test.go).
package conformance

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed subset.txt
var subset string

// Subset returns the names of the tests of subset.txt, in its order: those in
// which a regular expression is found.
func Subset(expression string) ([]string, error) {
	wanted, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	names, err := parseSubset(subset)
	if err != nil {
		return nil, fmt.Errorf("subset.txt: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !wanted.MatchString(name) })
	if len(names) == 0 {
		return nil, fmt.Errorf("no name in tests/conformance/subset.txt matches %q", expression)
	}
	return names, nil
}

// parseSubset reads one name a line; # begins a comment.
func parseSubset(text string) ([]string, error) {
	var names []string
	for line := range strings.Lines(text) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if !strings.Contains(name, "[Conformance]") {
			return nil, fmt.Errorf("%q is no conformance test", name)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// Focus returns the arguments by which Ginkgo runs tests of these names and no
// others. It looks for each in the name of a suite, a space, and the name of a
// test.
func Focus(names []string) []string {
	var args []string
	for _, name := range names {
		args = append(args, "-ginkgo.focus= "+regexp.QuoteMeta(name)+"$")
	}
	return args
}
