package jointoken

import (
	"strings"
	"testing"
)

const digest = "3b4c5d6e7f80910a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607182"

func TestATokenIsReadAsItWasWritten(t *testing.T) {
	for _, role := range []string{Server, Agent} {
		made := New(digest, role)
		read, err := Parse(made.String() + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if read != made {
			t.Errorf("wrote %v and read %v", made, read)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	one, two := New(digest, Agent), New(digest, Agent)
	if one == two {
		t.Error("two tokens have the same secret")
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	good := New(digest, Agent).String()
	for name, text := range map[string]string{
		"nothing":         "",
		"no K10":          strings.TrimPrefix(good, "K10"),
		"cut in the CA":   good[:30],
		"cut in the user": good[:len("K10")+64+2+3],
		"no secret":       "K10" + digest + "::agent:",
		"short digest":    "K10" + digest[1:] + "::agent:secret",
		"capital digest":  "K10" + strings.ToUpper(digest) + "::agent:secret",
		"unknown role":    "K10" + digest + "::admin:secret",
		"a space":         "K10" + digest + "::agent:se cret",
		"a long secret":   "K10" + digest + "::agent:" + strings.Repeat("x", longest+1),
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: %q was taken for a token", name, text)
		}
	}
}

func TestOnlyTheSameSecretAndRoleMatch(t *testing.T) {
	a := New(digest, Agent)
	other := a
	other.Role = Server
	if !a.Matches(a) || a.Matches(other) || a.Matches(New(digest, Agent)) {
		t.Error("Matches is wrong")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New(digest, Agent).String())
	f.Add("K10::")
	f.Fuzz(func(t *testing.T, text string) {
		read, err := Parse(text)
		if err == nil && read.String() != strings.TrimSpace(text) {
			t.Errorf("%q was read as %q", text, read)
		}
	})
}
