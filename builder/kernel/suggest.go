package kernel

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/typo"
	"github.com/skerry-os/skerry/kmod"
)

// suggest says what could have been meant by an entry that matches nothing.
func (m *Modules) suggest(pattern string) string {
	if strings.Contains(pattern, "/") {
		return m.suggestFolder(pattern)
	}
	pattern = kmod.Normalize(strings.ReplaceAll(pattern, "*", ""))
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	limit := max(1, min(3, len(pattern)/3))
	consider := func(name string) {
		d := typo.Distance(pattern, name)
		if d > limit && (len(pattern) < 4 || !strings.Contains(name, pattern)) {
			return
		}
		near = append(near, candidate{name, d})
	}
	for name := range m.byName {
		consider(name)
	}
	for name := range m.pkg.inside {
		consider(name)
	}
	slices.SortFunc(near, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	if len(near) == 0 {
		return "this kernel has none with a similar name; mark it optional with a final \"?\" if that is right"
	}
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, c.name)
	}
	return "near names are " + strings.Join(names, ", ")
}

// suggestFolder finds how much of a path exists.
func (m *Modules) suggestFolder(pattern string) string {
	folders := map[string]bool{}
	for _, f := range m.files {
		for dir := path.Dir(f.Path); dir != "kernel" && dir != "."; dir = path.Dir(dir) {
			folders[strings.TrimPrefix(dir, "kernel/")] = true
		}
	}
	for dir := path.Dir(pattern); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if folders[dir] {
			return fmt.Sprintf("patterns are paths without .ko, and there are modules below %s", dir)
		}
	}
	return "there is no such folder below kernel/; patterns are paths without .ko"
}
