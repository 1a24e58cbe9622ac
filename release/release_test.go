package release_test

import (
	"bytes"
	"crypto/sha256"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/release"
)

func manifest() *release.Manifest {
	return &release.Manifest{
		Format:  release.Format,
		Version: "1.5.0~rc1", Board: "x86_64", Architecture: "amd64", Commit: "0123abcd",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Kernel: "6.12.1-amd64",
		Verity: "root=0,blocks=1,tree=4096,salt=00,hash=11", Overlays: []string{"base", "a"},
		Artifacts: []release.Artifact{
			{Name: "b.slot", Kind: release.KindSlot, Size: 2, SHA256: sha256.Sum256([]byte("b"))},
			{Name: "a.efi", Kind: release.KindUKI, Size: 1, SHA256: sha256.Sum256([]byte("a"))},
		},
		Packages: []release.Package{
			{Name: "libc6", Version: "2.41-12", Architecture: "amd64", Source: "glibc", Filename: "pool/main/g/glibc/libc6.deb", Size: 5, SHA256: sha256.Sum256(nil)},
			{Name: "e2fsprogs", Version: "1.47.2-3", Architecture: "amd64", Filename: "pool/main/e/e2fsprogs.deb", Size: 4, SHA256: sha256.Sum256(nil)},
		},
		Modules: []release.Module{{Path: "golang.org/x/sys", Version: "v0.50.0", Sum: "h1:x="}, {Path: "github.com/skerry-os/skerry", Version: "(devel)"}},
		Images: []release.Image{
			{Reference: "skerry.dev/pause:v1", SHA256: sha256.Sum256([]byte("p"))}, {Reference: "docker.io/library/shop:v1", SHA256: sha256.Sum256([]byte("s"))},
		},
		Tools: []release.Tool{{Name: "mkfs.erofs", Version: "1.5"}, {Name: "go", Version: "go1.26 <x> & y"}},
	}
}

func encode(t *testing.T, m *release.Manifest) []byte {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryMemberHasOneSpelling(t *testing.T) {
	text := string(encode(t, manifest()))
	members := regexp.MustCompile(`"([a-zA-Z0-9]+)":`).FindAllStringSubmatch(text, -1)
	if len(members) < 20 {
		t.Fatalf("%d members", len(members))
	}
	for _, m := range members {
		changed := strings.Replace(text, m[0], `"`+strings.ToUpper(m[1][:1])+m[1][1:]+`":`, 1)
		if _, err := release.ParseManifest("x", []byte(changed)); err == nil || !strings.Contains(err.Error(), "it is written") {
			t.Errorf("%s in another spelling: %v", m[1], err)
		}
	}
}

func TestTheManifestOfABuildIsAlwaysTheSameBytes(t *testing.T) {
	m := manifest()
	want := encode(t, m)
	slices.Reverse(m.Artifacts)
	slices.Reverse(m.Packages)
	slices.Reverse(m.Modules)
	slices.Reverse(m.Images)
	slices.Reverse(m.Tools)
	m.Time = m.Time.In(time.FixedZone("x", 3600))
	m.Format = 0
	if got := encode(t, m); !bytes.Equal(got, want) {
		t.Error(cmp.Diff(string(want), string(got)))
	}
	slices.Reverse(m.Overlays)
	if bytes.Equal(encode(t, m), want) {
		t.Error("the order of overlays is lost")
	}
	if !bytes.HasPrefix(want, []byte("{\n  \"format\": 1,\n  \"version\": \"1.5.0~rc1\",\n")) || !bytes.HasSuffix(want, []byte("\n}\n")) || !bytes.Contains(want, []byte("<x> & y")) {
		t.Errorf("got %s", want)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	data := encode(t, manifest())
	m, err := release.ParseManifest("m", data)
	if err != nil {
		t.Fatal(err)
	}
	if again := encode(t, m); !bytes.Equal(again, data) {
		t.Error(cmp.Diff(string(data), string(again)))
	}
	slot, err := m.Artifact(release.KindSlot)
	if err != nil || slot.Name != "b.slot" || slot.SHA256.String() != "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" {
		t.Errorf("%+v, %v", slot, err)
	}
	if _, err := m.Artifact(release.KindImage); err == nil {
		t.Error("there is a disk image")
	}
	empty := manifest()
	empty.Packages, empty.Overlays, empty.Modules, empty.Images, empty.Tools = nil, nil, nil, nil, nil
	if _, err := release.ParseManifest("m", encode(t, empty)); err != nil {
		t.Error(err)
	}
}

func TestManifestsOfNewerBuildersAreRead(t *testing.T) {
	data := strings.Replace(string(encode(t, manifest())), `"board":`, `"securityEpoch": 7, "chunks": {"index": [1, "x", true]}, "board":`, 1)
	if _, err := release.ParseManifest("m", []byte(data)); err != nil {
		t.Error(err)
	}
	data = strings.Replace(string(encode(t, manifest())), `"format": 1`, `"format": 2`, 1)
	if _, err := release.ParseManifest("m", []byte(data)); err == nil || !strings.Contains(err.Error(), "its format is 2") {
		t.Errorf("format 2: %v", err)
	}
}

func TestWrongManifestsAreRefused(t *testing.T) {
	good := string(encode(t, manifest()))
	digest := strings.Repeat("0", 64)
	for _, test := range []struct{ old, new, want string }{
		{good, "", "cut off"},
		{good, "[]", "a JSON object is expected"},
		{good, "{}", "its format is 0"},
		{good, good + "{}", "after the end"},
		{good, good[:len(good)-10], "cut off"},
		{good, good + strings.Repeat(" ", release.MaxManifest), "are the most"},
		{good, "{\"x\":" + strings.Repeat("[", 1000), "nested too deeply"},
		{`"board": "x86_64"`, `"board": "x86_64", "board": "arm64"`, `line 4: member "board" is given twice`},
		{`"board": "x86_64"`, `"Board": "x86_64"`, `member "Board": it is written "board"`},
		{`"skerry.dev/pause:v1"`, `"docker.io/library/shop:v1"`, `"docker.io/library/shop:v1" is there twice`},
		{`"skerry.dev/pause:v1"`, `""`, "images[1].reference is missing"},
		{`"size": 1`, `"ſize": 1`, "other letters than ASCII"},
		{`"size": 1`, `"size": "1"`, "cannot unmarshal"},
		{`"size": 1`, `"size": 1.5`, "cannot unmarshal"},
		{`"size": 1`, `"size": -1`, "has a size of -1 bytes"},
		{`"size": 1`, `"size": 99999999999999999999`, "cannot unmarshal"},
		{`"board": "x86_64"`, `"board": null`, "null"},
		{`"board": "x86_64"`, `"board": ""`, "board is missing"},
		{`"board": "x86_64"`, `"board": "../x"`, "no name of a board"},
		{`"board": "x86_64"`, `"board": "a\nb"`, "control characters"},
		{`"version": "1.5.0~rc1"`, `"version": "1+1"`, "systemd-boot"},
		{`"commit": "0123abcd"`, `"commit": "main"`, "hexadecimal"},
		{`"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05.5Z"`, "no whole second"},
		{`"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05+01:00"`, "no whole second"},
		{`"2026-01-02T03:04:05Z"`, `"1969-01-02T03:04:05Z"`, "no whole second"},
		{`"a.efi"`, `"../a.efi"`, "no file name without a folder"},
		{`"a.efi"`, `"b.slot"`, "is there twice"},
		{`"kind": "uki"`, `"kind": ""`, "artifacts[0].kind is missing"},
		{sha256Of("a"), "00", "no SHA-256"},
		{sha256Of("a"), strings.ToUpper(sha256Of("a")), "no SHA-256"},
		{sha256Of("a"), digest, "has no digest"},
		{`pool/main/e/`, `../main/e/`, "no path below a mirror"},
		{`"mkfs.erofs"`, `""`, "tools[1].name is missing"},
		{`"libc6"`, `"` + strings.Repeat("x", 2000) + `"`, "too long"},
		{`"libc6"`, "\"lib\xff\"", "not valid UTF-8"},
	} {
		data := strings.Replace(good, test.old, test.new, 1)
		if data == good {
			t.Fatalf("%q is not in the manifest", test.old)
		}
		m, err := release.ParseManifest("m", []byte(data))
		if err == nil || m != nil || !strings.HasPrefix(err.Error(), "release manifest m: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q instead of %.60q: got %v, want %s", test.new, test.old, err, test.want)
		}
	}
}

func sha256Of(s string) string { return release.Digest(sha256.Sum256([]byte(s))).String() }

func TestManifestsThatCouldNotBeReadAreNotWritten(t *testing.T) {
	for name, change := range map[string]func(*release.Manifest){
		"no version":   func(m *release.Manifest) { m.Version = "" },
		"no artifacts": func(m *release.Manifest) { m.Artifacts = nil },
		"fractions":    func(m *release.Manifest) { m.Time = m.Time.Add(1) },
		"no time":      func(m *release.Manifest) { m.Time = time.Time{} },
		"too many":     func(m *release.Manifest) { m.Overlays = slices.Repeat([]string{"x"}, 10_001) },
		"not UTF-8":    func(m *release.Manifest) { m.Kernel = "\xff" },
	} {
		m := manifest()
		change(m)
		if _, err := m.Encode(); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
}

func TestVersionsHaveASyntax(t *testing.T) {
	for _, s := range []string{"1", "1.4.0", "1.5.0~rc1", "v1_2-3", "0.0.0-0123456789ab-dirty", strings.Repeat("9", 64)} {
		if v, err := release.ParseVersion(s); err != nil || string(v) != s {
			t.Errorf("%q: %q, %v", s, v, err)
		}
	}
	for s, want := range map[string]string{
		"": "empty", strings.Repeat("9", 65): "65 characters", "-1": "begins with", ".1": "begins with", "~1": "begins with",
		"1+2": "systemd-boot", "1 2": "cannot be part", "1/2": "cannot be part", "1\n": "cannot be part", "1é": "cannot be part", "1:2": "cannot be part", "1\x7f": "cannot be part",
		"V1": "begins with", "1-RC1": "lower-case",
	} {
		if _, err := release.ParseVersion(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", s, err, want)
		}
	}
}

// versions are all that dpkg can order: it knows no "_" and wants a digit first.
var versions = []release.Version{
	"1", "1.0", "1.00", "1.0-0", "1.0-1", "1.0~rc1", "1.0~rc2", "1.0~~", "1.0a", "1.0-a", "1.0.1", "1.9", "1.10", "1.10-2-gabc", "1.10-12-gabc",
	"1.10-rc1", "2", "0.0.0-0123456789ab", "0.0.0-0123456789ab-dirty", "20260101", "1.0A", "1.0Z", "1.0.~1", "1.0-~", "1a1", "1a01", "1-1-1", "1.0.0",
	"9007199254740993", "9007199254740992", "1.99999999999999999999999999", "1.99999999999999999999999998",
}

func TestVersionsHaveDebiansOrder(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Fatalf("this test compares with dpkg: %v: install the package dpkg", err)
	}
	for i, v := range versions {
		for _, w := range versions[i:] {
			got := v.Compare(w)
			if back := w.Compare(v); back != -got {
				t.Errorf("%s and %s: %d, and %d the other way round", v, w, got, back)
			}
			operator := map[int]string{-1: "lt-nl", 0: "eq", 1: "gt-nl"}[got]
			if err := exec.Command("dpkg", "--compare-versions", string(v), operator, string(w)).Run(); err != nil {
				t.Errorf("%s and %s: dpkg does not say %s", v, w, operator)
			}
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	data, err := manifest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1,"x":[{},[null]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := release.ParseManifest("m", data)
		if err != nil {
			return
		}
		first, err := m.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := release.ParseManifest("m", first)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	})
}

func FuzzVersion(f *testing.F) {
	f.Add("1.0~rc1", "1.0_a", "1-0")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var v [3]release.Version
		for i, s := range []string{a, b, c} {
			var err error
			if v[i], err = release.ParseVersion(s); err != nil {
				return
			}
		}
		if v[0].Compare(v[0]) != 0 || v[0].Compare(v[1]) != -v[1].Compare(v[0]) {
			t.Errorf("%q and %q have no order", v[0], v[1])
		}
		if v[0].Compare(v[1]) <= 0 && v[1].Compare(v[2]) <= 0 && v[0].Compare(v[2]) > 0 {
			t.Errorf("%q, %q and %q go in a circle", v[0], v[1], v[2])
		}
	})
}
