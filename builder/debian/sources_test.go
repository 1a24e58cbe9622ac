package debian

import (
	"strings"
	"testing"
	"testing/fstest"
)

func sourceFiles(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

const debianSources = `Types: deb
# http://snapshot.example.org/archive
URIs: http://mirror.example.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

types: deb deb-src
uris: http://security.example.org/debian-security/
suites:
 trixie-security
# a comment within a field
components: main contrib
`

func TestHostMirrorsReadsAptSources(t *testing.T) {
	for _, c := range []struct {
		name              string
		files             map[string]string
		archive, security string
	}{
		{"deb822", map[string]string{"sources.list.d/debian.sources": debianSources},
			"http://mirror.example.org/debian", "http://security.example.org/debian-security"},
		{"one-line with options and comments", map[string]string{"sources.list": `
# deb http://commented.example.org/debian trixie main
deb-src http://source.example.org/debian trixie main
deb	[ arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ]  https://mirror.example.org/debian/   trixie main contrib # why
deb [trusted=no] https://security.example.org/debian-security trixie-security main
`}, "https://mirror.example.org/debian", "https://security.example.org/debian-security"},
		{"the old name of security", map[string]string{"sources.list": "deb http://a.example.org/debian bullseye main\ndeb http://s.example.org/x bullseye/updates main\n"},
			"http://a.example.org/debian", "http://s.example.org/x"},
		{"no security", map[string]string{"sources.list": "deb http://a.example.org/debian stable main\n"},
			"http://a.example.org/debian", "http://a.example.org/debian-security"},
		{"disabled stanzas, lines of spaces between stanzas", map[string]string{"sources.list.d/a.sources": "Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\nSuites: trixie\nComponents: main\n \t\n" + debianSources},
			"http://mirror.example.org/debian", "http://security.example.org/debian-security"},
		{"other endings are not read", map[string]string{"sources.list.d/a.sources.save": "rubbish", "sources.list.d/debian.sources": debianSources},
			"http://mirror.example.org/debian", "http://security.example.org/debian-security"},
		{"a vendor that publishes under Debian's names", map[string]string{
			"sources.list.d/aaa.list":       "deb [signed-by=/k.gpg] https://vendor.example.org trixie main\n",
			"sources.list.d/debian.sources": debianSources},
			"http://mirror.example.org/debian", "http://security.example.org/debian-security"},
		{"a vendor whose path ends as Debian's", map[string]string{
			"sources.list.d/aaa.list": "deb [signed-by=/k.gpg] https://vendor.example.org/debian trixie main\n",
			"sources.list":            "",
			"sources.list.d/b.list":   "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example.org/pub trixie main\n"},
			"http://a.example.org/pub", "http://a.example.org/pub-security"},
		{"vendors with other suites and components", map[string]string{
			"sources.list.d/aaa.list": "deb https://vendor.example.org/linux/debian trixie stable\ndeb https://x.example.org/ ./\ndeb https://v.example.org nodistro main\ndeb https://u.example.org/ubuntu noble main\n",
			"sources.list":            "deb http://a.example.org/pub trixie main\n"},
			"http://a.example.org/pub", "http://a.example.org/pub-security"},
		{"a local mirror", map[string]string{"sources.list": "deb file:///srv/debian trixie main\ndeb copy:/srv/sec trixie-security main"},
			"file:/srv/debian", "file:/srv/sec"},
		{"a list of mirrors", map[string]string{
			"sources.list": "deb mirror+file:/etc/apt/mirrors/debian.list trixie main\ndeb mirror+file:/etc/apt/mirrors/security.list trixie-security main\n",
			"mirrors/debian.list": `# comment
tor+http://onion.example.org/debian	priority:0
https://far.example.org/debian	priority:2 type:deb
https://near.example.org/debian/	priority:1
https://last.example.org/debian
`, "mirrors/security.list": "https://s.example.org/debian-security\n"},
			"https://near.example.org/debian", "https://s.example.org/debian-security"},
		{"carriage returns", map[string]string{"sources.list.d/x.sources": strings.ReplaceAll(debianSources, "\n", "\r\n")},
			"http://mirror.example.org/debian", "http://security.example.org/debian-security"},
	} {
		got, err := HostMirrors(sourceFiles(c.files))
		if err != nil || got.Archive != c.archive || got.Security != c.security {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
}

func TestHostMirrorsSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		says  string
	}{
		{"no sources", nil, "pass --mirror URL"},
		{"only another distribution", map[string]string{"sources.list": "deb http://u.example.org/ubuntu noble main\n"}, "no Debian archive"},
		{"a bracket that is not closed", map[string]string{"sources.list": "\ndeb [arch=amd64 http://a.example.org trixie main\n"}, "/etc/apt/sources.list:2: the options' closing bracket"},
		{"a line without a suite", map[string]string{"sources.list.d/x.list": "deb http://a.example.org/debian\n"}, "/etc/apt/sources.list.d/x.list:1: expected"},
		{"a stanza without a suite", map[string]string{"sources.list.d/x.sources": "Types: deb\nURIs: http://a.example.org\n"}, "x.sources: a stanza lacks"},
		{"rubbish", map[string]string{"sources.list.d/x.sources": "rubbish\n"}, `x.sources: "rubbish" is no field`},
		{"a transport we lack", map[string]string{"sources.list": "deb tor+http://a.example.org/debian trixie main\n"}, "only http, https and file"},
		{"mirrors over the network", map[string]string{"sources.list": "deb mirror+http://a.example.org/list trixie main\n"}, "only http, https and file"},
		{"a list that is missing", map[string]string{"sources.list": "deb mirror+file:/etc/apt/none trixie main\n"}, "mirror list"},
		{"a list of nothing", map[string]string{"sources.list": "deb mirror+file:/etc/apt/l trixie main\n", "l": "# empty\n"}, "names no http"},
	} {
		_, err := HostMirrors(sourceFiles(c.files))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestMirrorsAt(t *testing.T) {
	for in, want := range map[string]Mirrors{
		"http://m.example.org/debian":    {"http://m.example.org/debian", "http://m.example.org/debian-security"},
		"https://m.example.org/debian//": {"https://m.example.org/debian", "https://m.example.org/debian-security"},
		"http://m.example.org:3142/pub":  {"http://m.example.org:3142/pub", "http://m.example.org:3142/pub-security"},
		"file:/srv/mirror/debian":        {"file:/srv/mirror/debian", "file:/srv/mirror/debian-security"},
	} {
		if got, err := MirrorsAt(in); err != nil || got != want {
			t.Errorf("%s: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "m.example.org/debian", "ftp://m.example.org/debian", "http:///debian", "file:debian", "file://host/debian", "http://m.example.org/debian?x=1", "http://user:secret@m.example.org/debian?x", "http://user:secret@[::1/debian", "ftp://user:secret@m.example.org"} {
		if got, err := MirrorsAt(in); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, %v", in, got, err)
		}
	}
}

func FuzzHostMirrors(f *testing.F) {
	f.Add(debianSources, "deb [a=b] http://a.example.org/debian trixie main", "http://x.example.org\tpriority:1")
	f.Add("Types: deb\nURIs: mirror+file:/etc/apt/m\nSuites: sid\nComponents: main", "", "x")
	f.Fuzz(func(t *testing.T, deb822, list, mirrors string) {
		got, err := HostMirrors(sourceFiles(map[string]string{"sources.list.d/x.sources": deb822, "sources.list": list, "m": mirrors}))
		if err != nil {
			return
		}
		for _, m := range []string{got.Archive, got.Security} {
			if again, err := mirrorURL(m); err != nil || again != m {
				t.Errorf("%q is not a mirror's address in its one form: %q, %v", m, again, err)
			}
		}
	})
}
