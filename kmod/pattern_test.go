package kmod

import (
	"strings"
	"testing"
)

// TestPatternsFollowFnmatch has the cases of fnmatch(3) and POSIX XCU 2.13 that
// aliases use, with the answers glibc gives.
func TestPatternsFollowFnmatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"**", "abc", true},
		{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "acb", false}, {"a*b*c", "aXbXbXc", true},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"???", "ab", false},
		{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true}, {"[^a-c]x", "ax", false},
		{"[]]", "]", true}, {"[a-]", "-", true}, {"[", "[", true}, {"[ab", "[ab", true},
		{`\*`, "*", true}, {`\*`, "a", false},
		{"a-b", "a_b", true}, {"a_b*", "a-bc", true},
		{"*a*a*a*a*b", strings.Repeat("a", 200), false},
	} {
		if got := matchPattern(c.pattern, c.s); got != c.want {
			t.Errorf("matchPattern(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

// FuzzLookup holds the hashed lookup against trying every pattern.
func FuzzLookup(f *testing.F) {
	f.Add("pci:v00008086d*sv*", "pci:v00008086d0001sv02")
	f.Add("ab[0-9]cdefgh?", "ab1cdefghx")
	f.Add("a*b", "a-b")
	f.Add("net-pf-10", "net_pf_10")
	f.Add(`abcdef\*`, "abcdef*")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if strings.Contains(pattern, "\n") || len(s) > maxModalias || s == "" {
			return
		}
		a, err := parseAliases("alias other* o\nalias " + pattern + " m\n")
		if err != nil {
			return
		}
		found := false
		a.lookup(s, func(name string) { found = found || name == "m" })
		if want := matchPattern(pattern, s); found != want {
			t.Errorf("lookup of %q found %q: %v, the pattern matches: %v", s, pattern, found, want)
		}
	})
}
