package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestADocumentKeepsThePartsThatAreNotMeasuredAgain(t *testing.T) {
	before := document{"boot": "\n## Boots\n\n| a |\n", "build": "## Builds\n\nBuilt.\n\n## More of it\n"}
	text := before.String()
	if first, second := strings.Index(text, "## Builds"), strings.Index(text, "## Boots"); first < 0 || second < first || !strings.HasPrefix(text, "# Benchmarks\n") {
		t.Errorf("not in the order of the parts:\n%s", text)
	}
	again := parseDocument(text)
	if len(again) != len(before) {
		t.Fatalf("%d parts: %q", len(again), again)
	}
	if diff := cmp.Diff(text, again.String()); diff != "" {
		t.Error(diff)
	}
	again["boot"] = "## Boots\n\nanew\n"
	if got := again.String(); !strings.Contains(got, "## More of it") || !strings.Contains(got, "anew") || strings.Contains(got, "| a |") {
		t.Errorf("got:\n%s", got)
	}
}

func TestAPageKeepsThePartsThatAreNotMeasured(t *testing.T) {
	name := filepath.Join(t.TempDir(), "page.md")
	for _, measured := range []document{{"boot": "old boots"}, {"build": "builds"}, {"boot": "boots"}} {
		if err := renew(name, measured); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := (document{"boot": "boots", "build": "builds"}).String(); string(text) != want {
		t.Error(cmp.Diff(want, string(text)))
	}
	if err := renew(filepath.Dir(name), document{}); err == nil {
		t.Error("a folder was written")
	}
}

func TestATextThatIsNoDocumentHasNoParts(t *testing.T) {
	for _, text := range []string{"", "# Benchmarks\n\n## Builds\n", "see <!-- part boot -->\n"} {
		if d := parseDocument(text); len(d) > 0 {
			t.Errorf("%q has %q", text, d)
		}
	}
}
