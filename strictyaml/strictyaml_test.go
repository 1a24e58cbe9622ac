package strictyaml_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/strictyaml"
)

type address struct {
	Prefix netip.Prefix `yaml:"prefix" required:"true"`
	Note   string       `yaml:"note"`
}

type config struct {
	Hostname  string            `yaml:"hostname"`
	Enabled   bool              `yaml:"enabled"`
	MTU       int               `yaml:"mtu"`
	Port      uint16            `yaml:"port"`
	DHCP      *bool             `yaml:"dhcp"`
	Address   *address          `yaml:"address"`
	Addresses []address         `yaml:"addresses"`
	Labels    map[string]string `yaml:"labels"`
	Free      map[string]any    `yaml:"free"`
	Any       any               `yaml:"any"`
	Token     string            `yaml:"token" secret:"true"`
	Hidden    map[string]any    `yaml:"hidden" secret:"true"`
	Quota     strictyaml.Size   `yaml:"quota"`
	embedded
}

type embedded struct {
	Inner int `yaml:"inner"`
}

// told decodes text and returns what is told about it, without the file name.
func told(text string) string {
	var c config
	_, err := strictyaml.Decode("F", []byte(text), &c)
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "F:", "")
}

func TestDecodeReadsAllKindsOfValues(t *testing.T) {
	var c config
	_, err := strictyaml.Decode("f", []byte("\xef\xbb\xbf"+`# a comment
hostname: "17"
enabled: true
mtu: 1500
port: 65535
dhcp: false
address: {prefix: 192.0.2.1/24}
addresses:
- prefix: 2001:db8::1/64
  note: |
    two
    lines
labels: {topology.kubernetes.io/zone: a, "1": "true", country: no}
free: {a: [1, -2, 1.5, true, null, 2026-01-01, x]}
any: text
token: K10
quota: 200MiB
inner: 7
`), &c)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := config{
		Hostname: "17", Enabled: true, MTU: 1500, Port: 65535, DHCP: &no,
		Address:   &address{Prefix: netip.MustParsePrefix("192.0.2.1/24")},
		Addresses: []address{{netip.MustParsePrefix("2001:db8::1/64"), "two\nlines\n"}},
		Labels:    map[string]string{"topology.kubernetes.io/zone": "a", "1": "true", "country": "no"},
		Free:      map[string]any{"a": []any{int64(1), int64(-2), 1.5, true, nil, "2026-01-01", "x"}},
		Any:       "text", Token: "K10", Quota: 200 << 20, embedded: embedded{7},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestWindowsLineEndsGiveTheSameValuesAndPositions(t *testing.T) {
	text := "labels:\n  a: |\n    x\n    y\n  b: 1\n"
	var unix, windows config
	_, unixErr := strictyaml.Decode("f", []byte(text), &unix)
	_, windowsErr := strictyaml.Decode("f", []byte("\xef\xbb\xbf"+strings.ReplaceAll(text, "\n", "\r\n")), &windows)
	if unixErr == nil || windowsErr == nil || unixErr.Error() != windowsErr.Error() {
		t.Errorf("unix: %v, windows: %v", unixErr, windowsErr)
	}
	if diff := cmp.Diff(unix.Labels, windows.Labels); diff != "" {
		t.Error(diff)
	}
}

func TestDocumentsWithoutContentChangeNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "\xef\xbb\xbf", "---\n# c\n...\n"} {
		c := config{Hostname: "kept"}
		doc, err := strictyaml.Decode("f", []byte(text), &c)
		if err != nil || !doc.Empty() || c.Hostname != "kept" {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestProblemsNamePositionWhatWasFoundAndWhatIsRight(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		// keys
		{"hostnam: a\n", `1:1: hostnam: this key is not known here; did you mean "hostname"?`},
		{"Hostname: a\n", `1:1: Hostname: this key is not known here; did you mean "hostname"?`},
		{"mut: 1\n", `1:1: mut: this key is not known here; did you mean "mtu"?`},
		{"address:\n  prefix: 192.0.2.1/24\n  zzz: 1\n", "3:3: address.zzz: this key is not known here; known are: note, prefix"},
		{"hostname: a\nmtu: 1\nhostname: b\n", "3:1: hostname: this key is given twice, first on line 1: keep one"},
		{"free:\n  a: {b: 1, b: 2}\n", "2:13: free.a.b: this key is given twice, first on line 2: keep one"},
		{"addresses:\n- note: x\n", "2:3: addresses[0].prefix: this key is missing: text is needed"},
		{"mtu: 1\naddress:\n  note: x\n", "2:1: address.prefix: this key is missing: text is needed"},
		{"labels: {1: a}\n", "1:10: labels: the key 1 is not text: put it in quotes"},
		{"free: {true: a}\n", "1:8: free: the key true is not text: put it in quotes"},
		{"{{ host }}: 1\n", "1:1: a key must be text: is a template placeholder not in quotes?"},
		{"~: a\n", "1:1: a key is missing before the colon"},
		// types
		{"hostname: 17\n", `1:11: hostname: found the number 17: text belongs here; put it in quotes: "17"`},
		{"hostname: 0644\n", `1:11: hostname: found the number 0644: text belongs here; put it in quotes: "0644"`},
		{"hostname: true\n", `1:11: hostname: found the boolean true: text belongs here; put it in quotes: "true"`},
		{"hostname: [a]\n", "1:11: hostname: found a list: text belongs here"},
		{"hostname:\n", "1:10: hostname: there is no value: text belongs here; to leave it out, remove the key"},
		{"address:\nmtu: 1\n", "1:9: address: there is no value: a mapping with keys such as prefix, note belongs here; to leave it out, remove the key"},
		{"enabled: yes\n", `1:10: enabled: found the text "yes": true or false belongs here; write true`},
		{"enabled: Off\n", `1:10: enabled: found the text "Off": true or false belongs here; write false`},
		{"enabled: \"true\"\n", `1:10: enabled: found the text "true": true or false belongs here; remove the quotes`},
		{"enabled: 1\n", "1:10: enabled: found the number 1: true or false belongs here"},
		{"mtu: big\n", `1:6: mtu: found the text "big": a whole number belongs here`},
		{"mtu: \"1500\"\n", `1:6: mtu: found the text "1500": a whole number belongs here; remove the quotes`},
		{"mtu: 1.5\n", "1:6: mtu: found the number 1.5: a whole number belongs here"},
		{"mtu: 01500\n", "1:6: mtu: found the number 01500: a leading zero means octal to some programs and decimal to others; write it with the digits 0 to 9, not beginning with 0"},
		{"mtu: 0x10\n", "1:6: mtu: found the number 0x10: not all programs read this number alike; write it with the digits 0 to 9, not beginning with 0"},
		{"mtu: 1_500\n", "1:6: mtu: found the number 1_500: not all programs read this number alike; write it with the digits 0 to 9, not beginning with 0"},
		{"port: 65536\n", "1:7: port: found the number 65536: the number is out of range"},
		{"port: -1\n", "1:7: port: found the number -1: the number is out of range"},
		{"addresses: {a: b}\n", "1:12: addresses: found a mapping: a list belongs here"},
		{"labels: [a]\n", "1:9: labels: found a list: a mapping belongs here"},
		{"labels: {a: 1}\n", `1:13: labels.a: found the number 1: text belongs here; put it in quotes: "1"`},
		{"labels: {a.b/c: 1}\n", `1:17: labels["a.b/c"]: found the number 1: text belongs here; put it in quotes: "1"`},
		{"quota: 5MB\n", `1:8: quota: found "5MB": a size is a whole number and one of B, KiB, MiB, GiB, TiB, as in 200MiB`},
		{"quota: 200\n", "1:8: quota: found the number 200: a size is a whole number and one of B, KiB, MiB, GiB, TiB, as in 200MiB"},
		{"address: {prefix: 192.0.2.1}\n", `1:19: address.prefix: found "192.0.2.1": an address and its prefix length belong here, as in 192.0.2.17/24`},
		{"free: {a: 0644}\n", "1:11: free.a: found the number 0644: a leading zero means octal to some programs and decimal to others; put it in quotes, or write it in decimal"},
		{"free: {a: .inf}\n", "1:11: free.a: found the number .inf: this is not a finite decimal number; put it in quotes if it is text"},
		{"just text\n", "1:1: found text: a mapping with keys such as hostname, enabled, mtu belongs here"},
		{"- a\n", "1:1: found a list: a mapping with keys such as hostname, enabled, mtu belongs here"},
		// what YAML has and this does not
		{"labels: &a {x: y}\n", "1:9: labels: an anchor (&) is not supported: remove it, or put the value in quotes if it is text"},
		{"free: &a\n  b: *a\n", "1:7: free: an anchor (&) is not supported: remove it, or put the value in quotes if it is text\n" +
			"2:6: free.b: an alias (*) is not supported: write the value here, or put it in quotes if it is text"},
		{"labels: {<<: {a: b}}\n", "1:10: labels: a merge key (<<) is not supported: write the keys here"},
		{"hostname: !!str 17\n", "1:11: hostname: a tag (!) is not supported: remove it, or put the value in quotes if it is text"},
		{"any: !x {a: b}\n", "1:6: any: a tag (!) is not supported: remove it, or put the value in quotes if it is text"},
		{"mtu: 1\n---\nmtu: 2\n", `2:1: a second document begins here: remove the line "---" and keep one document`},
		// text that is not YAML, or not text
		{"a: \"x\x80\"\n", "1:6: the text is not valid UTF-8: save the file as UTF-8"},
		{"\xff\xfem\x00t\x00u\x00", "1:1: the text is not valid UTF-8: save the file as UTF-8"},
		{"hostname: ä\x01\n", "1:12: a control character (U+0001): remove it, or write it as an escape in double quotes"},
		{"hostname: a\u2028b\n", "1:12: an invisible line separator (U+2028): begin a new line instead"},
		{"mtu: 1\rport: 2\n", "1:7: a carriage return without a line feed: save the file with LF or CRLF line ends"},
		{"address:\n\tnote: x\n", "2:1: a tab is used as indentation: use spaces"},
		{"address:\n  note: x\n\tprefix: y\n", "3:1: a tab is used as indentation: use spaces"},
		{"hostname: @a\n", "1:11: a value cannot begin with '@': put it in quotes"},
		{"hostname: `a`\n", "1:11: a value cannot begin with '`': put it in quotes"},
		{"hostname: *.example\n", "1:11: a value cannot begin with * or &: put it in quotes (anchors and aliases are not supported)"},
		{"mtu: 1\nhostname: *other\nport: 1\n", "2:11: a value cannot begin with * or &: put it in quotes (anchors and aliases are not supported)"},
		{"mtu: 1\n\nnoise\nport: 2\n", `3:1: no ": " is found on this line: a key, a colon, a space and a value are needed`},
		{"mtu: 1\nhostname: a: b\n", `2:12: a ": " is not expected here: is the line above complete, is the indentation right, does a value with ": " need quotes?`},
		{"mtu: 1\n  port: 2\n", `2:7: a ": " is not expected here: is the line above complete, is the indentation right, does a value with ": " need quotes?`},
		{"hostname: \"a\\qb\"\n", `1:13: this escape is not known: write \\ for a backslash, or use single quotes`},
	} {
		if got := told(test.text); got != test.want {
			t.Errorf("%q\ngot  %s\nwant %s", test.text, got, test.want)
		}
	}
}

func TestSyntaxErrorsAreNearTheMistake(t *testing.T) {
	for _, test := range []struct {
		text string
		line int
		want string
	}{
		{"mtu: 1\nlabels: {a: b\nport: 3\n", 2, "a comma or a bracket is missing"},
		{"mtu: 1\nfree: {a: [1, 2}\nport: 3\n", 2, "a comma or a bracket is missing"},
		{"mtu: 1\nhostname: \"a\nport: 3\n", 2, "not closed"},
		{"mtu: 1\nhostname: 'x' y\nport: 3\n", 2, "does not continue"},
		{"mtu: 1\nfree:\n  - b\n c: 1\nport: 3\n", 4, "does not continue"},
		{"free: ]\nport: 3\n", 1, "a value is expected"},
	} {
		var c config
		_, err := strictyaml.Decode("f", []byte(test.text), &c)
		var e *strictyaml.Error
		if !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Line != test.line || !strings.Contains(e.Problems[0].Text, test.want) {
			t.Errorf("%q: got %v, want line %d, %q", test.text, err, test.line, test.want)
		}
	}
}

func TestAllProblemsAreToldAtOnceInTheirOrder(t *testing.T) {
	got := told("enabled: true\nnope: 1\nport: 1\nmtu: x\nmtu: 2\n")
	want := strings.Join([]string{
		`2:1: nope: this key is not known here; known are: address, addresses, any, dhcp, enabled, free, hidden, hostname, inner, labels, mtu, port, quota, token`,
		`4:6: mtu: found the text "x": a whole number belongs here`,
		`5:1: mtu: this key is given twice, first on line 4: keep one`,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheNumberOfProblemsToldIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "key%d: 1\n", i)
	}
	lines := strings.Split(told(text.String()), "\n")
	if len(lines) != 21 || lines[20] != " and 980 more problems" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestSecretsAreNeverRepeated(t *testing.T) {
	for _, text := range []string{
		"token: [SECRET]\n", "token: {SECRET: SECRET}\n", "token: !!x SECRET\n", "token: &SECRET x\n",
		"token: *SECRET\n", "token:SECRET\n", "mtu: 1\ntoken:SECRET\n", "{token:SECRET}\n", "{mtu: 1, token:SECRET, token:SECRET}\n",
		"{zzz:SECRET}\n", "hidden: SECRET\n", "hidden: {a: 0644, b: &SECRET 1, c: *SECRET}\n", "address: SECRET\n", "addresses: SECRET\n",
		"token: \"SECRET\n", "token: @SECRET\n", "token: SECRET: SECRET\n", "SECRET\n", "- SECRET\n", "token: K10: SECRET\n", "token: \"\\SECRET\"\n",
	} {
		got := told(text)
		if got == "" || strings.Contains(got, "SECRET") {
			t.Errorf("%q: told %q", text, got)
		}
	}
	if got, want := told("token: 012\n"), "1:8: token: found a number: text belongs here; put it in quotes"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLongValuesAreShortened(t *testing.T) {
	if got := told("mtu: " + strings.Repeat("ä", 5000) + "\n"); len(got) > 300 {
		t.Errorf("%d bytes: %s", len(got), got[:300])
	}
}

func TestFilesThatCostTooMuchAreRefused(t *testing.T) {
	bomb := "free:\n  a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'l'; c++ {
		bomb += fmt.Sprintf("  %c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for name, test := range map[string]struct{ text, want string }{
		"alias bomb":     {bomb, "f:2:6: free.a: an anchor (&) is not supported"},
		"10 MB":          {strings.Repeat("mtu: 1\n", 10<<20/7), "f:1:1: the file is larger than 1024 KiB: is it the right file?"},
		"one byte more":  {strings.Repeat("#", strictyaml.MaxSize+1), "f:1:1: the file is larger than 1024 KiB: is it the right file?"},
		"deep":           {"free: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n", "f:1:70: values are nested more than 64 deep"},
		"very deep":      {"any: " + strings.Repeat("[", 49_999) + "\n", "values are nested too deeply"},
		"very deep keys": {strings.Repeat("? ", 49_999) + "\n", "nested"},
		"many values":    {"any: [" + strings.Repeat("a,", 200_000) + "]\n", "f:1:100004: the file has too many values"},
		"many keys":      {strings.Repeat("a:\n", 150_000), "f:50001:1: the file has too many values"},
	} {
		start := time.Now()
		var c config
		_, err := strictyaml.Decode("f", []byte(test.text), &c)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %.200v, want %s", name, err, test.want)
		}
		t.Logf("%s: %v", name, time.Since(start).Round(time.Millisecond))
	}
	if got := told(strings.Repeat("#", strictyaml.MaxSize)); got != "" {
		t.Errorf("a file of exactly the largest size: %s", got)
	}
	if got := told("any: " + strings.Repeat("[", 62) + strings.Repeat("]", 62)); got != "" {
		t.Errorf("62 nested lists: %s", got)
	}
}

func TestReadStopsAtTheLargestSize(t *testing.T) {
	if _, err := strictyaml.Read("f", strings.NewReader(strings.Repeat("#", strictyaml.MaxSize))); err != nil {
		t.Error(err)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	if _, err := strictyaml.Read("f", zero); err == nil || !strings.HasPrefix(err.Error(), "f:1:1: ") {
		t.Errorf("an endless file: %v", err)
	}
}

func TestProblemsFoundAfterDecodingHavePositions(t *testing.T) {
	var c config
	doc, err := strictyaml.Decode("f", []byte("mtu: 1\naddresses:\n  - prefix: 192.0.2.1/24\n    note: x\nlabels:\n  a.b/c: d\nenabled: yes\n"), &c)
	if err == nil {
		t.Fatal("enabled: yes was accepted")
	}
	labels := strictyaml.Path("labels")
	doc.Errorf(labels.Key("a.b/c"), "bad label")
	doc.Errorf(strictyaml.Path("addresses").Index(0).Key("note"), "bad note")
	doc.Errorf("addresses[1].note", "no such entry")
	doc.Errorf("mtu", "bad mtu")
	doc.Errorf("hostname", "missing")
	doc.Errorf("enabled", "told before")
	want := strings.Join([]string{
		"f:1:1: hostname: missing",
		"f:1:6: mtu: bad mtu",
		"f:2:1: addresses[1].note: no such entry",
		"f:4:11: addresses[0].note: bad note",
		`f:6:10: labels["a.b/c"]: bad label`,
		`f:7:10: enabled: found the text "yes": true or false belongs here; write true`,
	}, "\n")
	if got := doc.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !doc.Failed("enabled") || !doc.Failed("addresses") || doc.Failed("port") {
		t.Error("Failed does not tell what cannot be relied on")
	}
	if !doc.Has(`labels["a.b/c"]`) || doc.Has("labels.a") || doc.Has("hostname") || !doc.Has("addresses[0].note") {
		t.Error("Has does not tell what is there")
	}
}

func TestTypesThatCannotBeReadAreErrors(t *testing.T) {
	var float struct {
		F float32 `yaml:"f"`
	}
	if _, err := strictyaml.Decode("f", []byte("f: 1\n"), &float); err == nil {
		t.Error("a float32 was read")
	}
	if _, err := strictyaml.Decode("f", []byte("f: 1\n"), float); err == nil {
		t.Error("a struct that is no pointer was read")
	}
}

func TestSizesAndDurationsAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]strictyaml.Size{
		"0B": 0, "1B": 1, "64KiB": 64 << 10, "200MiB": 200 << 20, "3GiB": 3 << 30, "2TiB": 2 << 40, "9223372036854775807B": math.MaxInt64,
	} {
		var size strictyaml.Size
		if err := size.UnmarshalText([]byte(text)); err != nil || size != want || size.Bytes() != int64(want) || size.String() != text {
			t.Errorf("%s: %d, %v, %v", text, size, size, err)
		}
	}
	for _, text := range []string{"", "5", "MiB", "-1MiB", "1.5GiB", "01MiB", "5MB", "5 MiB", "9007199254740992KiB", "8388608TiB", "+1B"} {
		var size strictyaml.Size
		if err := size.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d bytes", text, size)
		}
	}
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "1h0m1s": 3601 * time.Second} {
		var d strictyaml.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
		var again strictyaml.Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s: written as %v", text, d)
		}
	}
	for _, text := range []string{"", "10", "m", "1.5h", "10ms", "1s1m", "-1s", "1000000s", "1d", "+1s"} {
		var d strictyaml.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, d)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "hostname: a\nfree: {a: [1, {b: c}]}\n", "a: &a [*a]\n", "{{ x }}: 1", "? [a]\n: b\n", "a: |\n  x\n\ty\n", "token: *SECRET\n",
		"%YAML 1.1\n---\n<<: {}\n...\n", "any: !!binary x\n", "- - - -\n", "a: \"\\u2028\"\n", "any: 0x_\n", "any: 1e999\n",
		"hidden: {a: SECRET}\ntoken: [SECRET]\n", "\xef\xbb\xbfmtu: 1\r\nport: 2\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c config
		doc, err := strictyaml.Decode("f", data, &c)
		if err == nil {
			if doc == nil {
				t.Fatal("neither document nor error")
			}
			return
		}
		var e *strictyaml.Error
		if !errors.As(err, &e) {
			t.Fatalf("not an *Error: %v", err)
		}
		lines := strings.Split(string(data), "\n")
		last := 0
		for _, p := range e.Problems {
			if p.Line < 1 || p.Column < 1 || p.Line > len(lines)+1 || p.Line < last || p.Text == "" {
				t.Fatalf("position %d:%d, %d lines: %v", p.Line, p.Column, len(lines), err)
			}
			last = p.Line
		}
	})
}

func TestPlainDurationsAreWrittenAsText(t *testing.T) {
	var spec struct {
		Wait time.Duration `yaml:"wait"`
	}
	if _, err := strictyaml.Decode("x.yaml", []byte("wait: 1m30s\n"), &spec); err != nil || spec.Wait != 90*time.Second {
		t.Errorf("got %v, %v", spec.Wait, err)
	}
	if _, err := strictyaml.Decode("x.yaml", []byte("wait: 90\n"), &spec); err == nil || !strings.Contains(err.Error(), "x.yaml:1:7") {
		t.Errorf("a number without a unit: %v", err)
	}
}
