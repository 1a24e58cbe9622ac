package conformance

import (
	"fmt"
	"strings"
)

// Outcome is what became of one test.
type Outcome struct {
	Name   string
	Passed bool
}

// outcomeMark is what a line with an outcome begins with, but for the dots that
// Ginkgo prints, one a test, without a new line.
const outcomeMark = "e2e.test: "

// String returns the line by which e2e.test tells of an outcome.
func (o Outcome) String() string {
	return outcomeMark + map[bool]string{true: "passed", false: "failed"}[o.Passed] + " " + o.Name
}

// ParseOutcome reads such a line. ok is false if it is another one.
func ParseOutcome(line string) (o Outcome, ok bool) {
	_, rest, found := strings.Cut(line, outcomeMark)
	word, name, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if !found || name == "" || word != "passed" && word != "failed" {
		return Outcome{}, false
	}
	return Outcome{Name: name, Passed: word == "passed"}, true
}

// Run is one run of tests on a node.
type Run struct {
	Date       string
	Sources    string // of git
	Kubernetes string // version
	Board      string
	Machine    string // what stood in for the board
	Wanted     []string
	Outcomes   []Outcome
}

// Passed returns the names of the tests that passed, in the order in which they
// were wanted.
func (r *Run) Passed() []string {
	return r.those(func(o *Outcome) bool { return o != nil && o.Passed })
}

// Failed returns the names of the tests that failed.
func (r *Run) Failed() []string {
	return r.those(func(o *Outcome) bool { return o != nil && !o.Passed })
}

// NotRun returns the names of the tests that did not run: this Kubernetes has
// none of that name, they found that they cannot run here, or the run ended
// before them.
func (r *Run) NotRun() []string { return r.those(func(o *Outcome) bool { return o == nil }) }

func (r *Run) those(keep func(*Outcome) bool) []string {
	last := map[string]*Outcome{}
	for i := range r.Outcomes {
		last[r.Outcomes[i].Name] = &r.Outcomes[i]
	}
	var names []string
	for _, name := range r.Wanted {
		if keep(last[name]) {
			names = append(names, name)
		}
	}
	return names
}

// Summary returns one line.
func (r *Run) Summary() string {
	return fmt.Sprintf("%d of %d passed, %d failed, %d did not run",
		len(r.Passed()), len(r.Wanted), len(r.Failed()), len(r.NotRun()))
}
