package release

import (
	"cmp"
	"fmt"
	"strings"
)

// MaxVersion is the length in bytes of the longest version.
const MaxVersion = 64

// Version names a release of a board, as in 1.4.0 or 1.5.0~rc1. It begins with
// a lower-case letter or a digit and goes on with those and . _ ~ -. It is part
// of a file name on partition boot: systemd-boot takes "+3" there for a count of
// boots that are left (systemd-boot(7), boot counting), and names its entries in
// lower case whatever the file is called.
type Version string

// ParseVersion reads a version.
func ParseVersion(s string) (Version, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("version: it is empty")
	case len(s) > MaxVersion:
		return "", fmt.Errorf("version %.40q…: it has %d characters, and %d are the most", s, len(s), MaxVersion)
	case !isLower(s[0]) && !isDigit(s[0]):
		return "", fmt.Errorf("version %q: it begins with a lower-case letter or a digit", s)
	}
	for _, c := range s {
		if c == '+' {
			return "", fmt.Errorf(`version %q: "+" cannot be part of it, since systemd-boot takes what follows for a count of boots; write "." or "-" instead`, s)
		}
		if c > '~' || !isLower(byte(c)) && !isDigit(byte(c)) && !strings.ContainsRune("._~-", c) {
			return "", fmt.Errorf("version %q: %q cannot be part of it; use lower-case letters, digits and . _ ~ -", s, c)
		}
	}
	return Version(s), nil
}

func isLower(c byte) bool  { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Compare returns -1, 0 or +1 as v is older than, as old as or newer than w,
// in the order of Debian's versions (deb-version(7), "Sorting algorithm"; no
// epoch). It fits the syntax, everybody who builds packages knows it, and
// `dpkg --compare-versions` answers the same. So 1.9 is older than 1.10,
// 1.5.0~rc1 older than 1.5.0, and 1.5.0-12-gabc, which is what `git describe`
// says after 1.5.0, newer. Beware of 1.5.0-rc1: other than in Semantic
// Versioning it is newer than 1.5.0.
//
// Versions that differ can be equal in order, as 1.0 and 1.00 are. A "_", which
// Debian does not have, counts as the other signs do, by its ASCII code.
func (v Version) Compare(w Version) int {
	upstream, revision := v.split()
	otherUpstream, otherRevision := w.split()
	return cmp.Or(compareParts(upstream, otherUpstream), compareParts(revision, otherRevision))
}

// split cuts the version at its last hyphen.
func (v Version) split() (upstream, revision string) {
	i := strings.LastIndexByte(string(v), '-')
	if i < 0 {
		return string(v), ""
	}
	return string(v[:i]), string(v[i+1:])
}

// compareParts compares text and numbers in turn.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var numberA, numberB string
		numberA, a = cutNumber(a)
		numberB, b = cutNumber(b)
		if c := cmp.Or(cmp.Compare(len(numberA), len(numberB)), strings.Compare(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

// weight orders what comes next in a text: a tilde, the end or a number,
// letters, other signs.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// cutNumber cuts the digits off, without leading zeros.
func cutNumber(s string) (number, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
