package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNameDecidesWhichProgramItIs(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"/usr/sbin/umount", "/no/such/mount"}, &stdout, &stderr); code == 0 || !strings.Contains(stderr.String(), "umount") {
		t.Errorf("umount: exit code %d, %s", code, stderr.String())
	}
	stderr.Reset()
	if code := run([]string{"/usr/sbin/init"}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "not started by hand") {
		t.Errorf("init by hand: exit code %d, %s", code, stderr.String())
	}
}

// The builder makes a link for each name; both lists have to agree.
func TestBuilderMakesALinkForEachName(t *testing.T) {
	contents, err := os.ReadFile(filepath.FromSlash("../../builder/root.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(contents), "var agentNames = []string{")
	list, _, _ = strings.Cut(list, "}")
	var linked []string
	for name := range strings.SplitSeq(list, ",") {
		linked = append(linked, strings.Trim(strings.TrimSpace(name), `"`))
	}
	for name := range names {
		if !slices.Contains(linked, name) {
			t.Errorf("no link is made for %s", name)
		}
	}
	if len(linked) != len(names) {
		t.Errorf("links %v for %d programs", linked, len(names))
	}
}
