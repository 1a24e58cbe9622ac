package conformance

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesOfTheSubsetAreOneALine(t *testing.T) {
	names, err := parseSubset("# Pods.\n[sig-node] Pods should run [Conformance]\n\n  [sig-apps] Job should end [Conformance] [Slow]\n")
	if want := []string{"[sig-node] Pods should run [Conformance]", "[sig-apps] Job should end [Conformance] [Slow]"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %q, %v", names, err)
	}
	for _, wrong := range []string{
		"[sig-node] Pods should run\n",
		"[sig-node] Pods should run [Conformance]\n[sig-node] Pods should run [Conformance]\n",
	} {
		if names, err := parseSubset(wrong); err == nil {
			t.Errorf("%q gives %q", wrong, names)
		}
	}
}

func TestAPartOfTheSubsetCanBeChosen(t *testing.T) {
	all, err := Subset("")
	if err != nil {
		t.Fatal(err)
	}
	dns, err := Subset(`^\[sig-network\] DNS `)
	if err != nil || len(dns) == 0 || len(dns) >= len(all) {
		t.Errorf("%d of %d are about DNS, %v", len(dns), len(all), err)
	}
	for _, wrong := range []string{"(", "no such test"} {
		if names, err := Subset(wrong); err == nil {
			t.Errorf("%q gives %q", wrong, names)
		}
	}
}

func TestFocusMeansTheNameAndNothingElse(t *testing.T) {
	got := Focus([]string{`[sig-node] Probing container with a exec "cat /tmp/health" (twice) [Conformance]`})
	want := []string{`-ginkgo.focus= \[sig-node\] Probing container with a exec "cat /tmp/health" \(twice\) \[Conformance\]$`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestOutcomesAreReadAsTheyAreSaid(t *testing.T) {
	for _, o := range []Outcome{{"[sig-node] Pods should run [Conformance]", true}, {"one", false}} {
		for _, line := range []string{o.String(), "••" + o.String() + "\n"} {
			if got, ok := ParseOutcome(line); !ok || got != o {
				t.Errorf("%q is %v, %v", line, got, ok)
			}
		}
	}
	for _, line := range []string{"", "e2e.test: ", "e2e.test: passed", "e2e.test: skipped one", "passed one"} {
		if got, ok := ParseOutcome(line); ok {
			t.Errorf("%q is %v", line, got)
		}
	}
}

// ran is a run with one test of each end.
func ran() *Run {
	return &Run{
		Date: "2026-01-02", Sources: "0123456789ab", Kubernetes: "v1.37.2", Board: "x86_64", Machine: "QEMU",
		Wanted: []string{"[sig-node] Pods [A:B] run [Conformance] [Slow]", "[sig-apps] Jobs end [Conformance]", "[sig-apps] Jobs begin [Conformance]"},
		Outcomes: []Outcome{
			{"[sig-apps] Jobs end [Conformance]", false},
			{"[sig-node] Pods [A:B] run [Conformance] [Slow]", true},
			{"something that nobody wanted", true},
		},
	}
}

func TestEveryWantedTestIsCountedOnce(t *testing.T) {
	r := ran()
	if got, want := r.Summary(), "1 of 3 passed, 1 failed, 1 did not run"; got != want {
		t.Errorf("got %q", got)
	}
	for _, tc := range []struct {
		what string
		got  []string
		want string
	}{
		{"passed", r.Passed(), r.Wanted[0]}, {"failed", r.Failed(), r.Wanted[1]}, {"not run", r.NotRun(), r.Wanted[2]},
	} {
		if !slices.Equal(tc.got, []string{tc.want}) {
			t.Errorf("%s: %q", tc.what, tc.got)
		}
	}
}

func TestThePageNamesWhatFailedFirst(t *testing.T) {
	page := ran().Page()
	rest := page
	for _, want := range []string{
		"|date|2026-01-02|\n", "|Kubernetes|v1.37.2|\n", "|result|1 of 3 passed, 1 failed, 1 did not run|\n",
		"## Failed\n\nsig-apps:\n\n- `Jobs end`\n", "## Did not run\n\nsig-apps:\n\n- `Jobs begin`\n",
		"## Passed\n\nsig-node:\n\n- `Pods [A:B] run`\n",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q, in this place, in\n%s", want, page)
		}
		rest = after
	}
}
