package debian

import (
	"iter"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/typo"
)

// provides yields the names of a Provides field with their versions, "" where
// there is none: "a, b (= 1.2)". It is run for every package of an archive,
// which is why it is not the general parser.
func provides(field string) iter.Seq2[string, string] {
	return func(yield func(name, version string) bool) {
		for rest, more := field, field != ""; more; {
			var one string
			one, rest, more = strings.Cut(rest, ",")
			name, version, _ := strings.Cut(strings.TrimSpace(one), "(")
			name, _, _ = strings.Cut(strings.TrimSpace(name), ":")
			version, ok := strings.CutPrefix(strings.TrimSpace(version), "=")
			if version = strings.Trim(version, ") "); !ok {
				version = ""
			}
			if name != "" && !yield(name, version) {
				return
			}
		}
	}
}

// indexProviders fills in who provides what, in the order of names.
func (a *Archive) indexProviders() {
	for i := range a.packages {
		for name := range provides(a.packages[i].Provides) {
			a.providers[name] = append(a.providers[name], i)
		}
	}
	for _, list := range a.providers {
		slices.SortFunc(list, func(i, j int) int { return strings.Compare(a.packages[i].Name, a.packages[j].Name) })
	}
}

// near returns up to three names that are close to a mistyped one.
func (a *Archive) near(name string) []string {
	if len(name) > 128 {
		return nil
	}
	const far = 3
	best := map[string]int{}
	for other := range a.byName {
		d := far
		switch {
		case len(name) >= 4 && strings.HasPrefix(other, name):
			d = 1
		case len(other)-len(name) < far && len(name)-len(other) < far:
			d = typo.Distance(name, other)
		}
		if d < far && d < len(name)/2 {
			best[other] = d
		}
	}
	names := make([]string, 0, len(best))
	for n := range best {
		names = append(names, n)
	}
	slices.SortFunc(names, func(x, y string) int {
		if best[x] != best[y] {
			return best[x] - best[y]
		}
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
	return names[:min(len(names), 3)]
}
