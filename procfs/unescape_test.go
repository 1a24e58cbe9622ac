package procfs

import "testing"

func TestOctalEscapesBecomeCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"/media/x":          "/media/x",
		`/a\040b\011c\134d`: "/a b\tc\\d",
		`\040`:              " ",
		`end\04`:            `end\04`,
		`no\099number\777`:  `no\099number\777`,
		`\\040`:             `\ `,
	} {
		if got := Unescape(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestUnescapeLeavesWhatIsNoEscape(t *testing.T) {
	for in, want := range map[string]string{`\`: `\`, `a\04`: `a\04`, `\999`: `\999`, `\0401`: " 1", `\134040`: `\040`, `\777`: `\777`} {
		if got := Unescape(in); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", in, got, want)
		}
	}
}
