package debian

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// archiveOf makes an archive from an index.
func archiveOf(t testing.TB, index string) *Archive {
	t.Helper()
	a := &Archive{byName: map[string]int{}, providers: map[string][]int{}, arch: "amd64"}
	if err := parseIndex(index, "amd64", a.add); err != nil {
		t.Fatal(err)
	}
	a.indexProviders()
	return a
}

func names(packages []Package) string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func TestResolveFollowsDependencies(t *testing.T) {
	index := stanza("app", "1", "Depends: libc6 (>= 2.36), liba1:any | libb1, editor\nPre-Depends: pre") +
		stanza("libc6", "2.41-1", "Depends: libgcc-s1") +
		stanza("libgcc-s1", "14", "Depends: libc6 (>= 2.1)") + // a cycle
		stanza("liba1", "1", "") + stanza("libb1", "1", "") + stanza("pre", "1", "") +
		stanza("nano", "1", "Provides: editor") + stanza("ed", "1", "Provides: editor, ed-x (= 2)") +
		stanza("virtual", "1", "Depends: ed-x (>= 2)") +
		stanza("alt", "1", "Depends: missing | libb1 (>> 1) | libb1 (<= 1)") +
		stanza("native", "1", "Depends: liba1:amd64") +
		stanza("linux-image-amd64", "6.12.118-1", "Depends: linux-base, linux-image-6.12.118-amd64 (= 6.12.118-1)") +
		stanza("linux-image-6.12.118-amd64", "6.12.118-1", "Depends: linux-base, kmod") + stanza("linux-base", "4", "") + stanza("kmod", "34", "")
	a := archiveOf(t, index)
	for _, c := range []struct {
		requests []Request
		want     string
	}{
		{Requests("app"), "app ed liba1 libc6 libgcc-s1 pre"},
		{Requests("app", "libb1", "nano"), "app libb1 libc6 libgcc-s1 nano pre"}, // asked for decides
		{Requests("nano", "app", "libb1"), "app libb1 libc6 libgcc-s1 nano pre"},
		{Requests("virtual"), "ed virtual"},
		{Requests("alt"), "alt libb1"},
		{Requests("native"), "liba1 native"},
		{Requests("libc6", "libc6"), "libc6 libgcc-s1"},
		{[]Request{{Name: "app", Alone: true}}, "app"},
		{[]Request{{Name: "app", Alone: true}, {Name: "app"}}, "app ed liba1 libc6 libgcc-s1 pre"},
		{nil, ""},
	} {
		got, err := a.Resolve(c.requests)
		if err != nil || names(got) != c.want {
			t.Errorf("%v: got %q, %v", c.requests, names(got), err)
		}
	}
	if p, err := a.DependencyOf("linux-image-amd64", "linux-image-"); err != nil || p.Name != "linux-image-6.12.118-amd64" {
		t.Errorf("kernel behind the meta package: got %v, %v", p, err)
	}
	if p, err := a.DependencyOf("linux-image-amd64", "linux-headers-"); err == nil || !strings.Contains(err.Error(), "linux-headers-…") {
		t.Errorf("no such dependency: got %v, %v", p, err)
	}
}

func TestResolveSaysWhatCannotBeMet(t *testing.T) {
	a := archiveOf(t, stanza("linux-image-amd64", "1", "")+stanza("e2fsprogs", "1.47", "Provides: fsck")+
		stanza("old", "1", "Depends: e2fsprogs (>= 2) | none")+stanza("indirect", "1", "Depends: old")+
		stanza("unversioned", "1", "Depends: fsck (>= 1)")+stanza("foreign", "1", "Depends: e2fsprogs:i386")+
		stanza("broken", "1", "Depends: e2fsprogs (~ 1)"))
	for name, says := range map[string]string{
		"linux-image-amd46": "did you mean linux-image-amd64?",
		"e2fsprog":          "did you mean e2fsprogs?",
		"zzz":               "no package of that name",
		"fsck":              "it is a virtual package: name one that provides it, such as e2fsprogs",
		"old":               "resolve old 1: it needs e2fsprogs (>= 2) (the archive has 1.47) or none",
		"indirect":          "resolve old 1: it needs",
		"unversioned":       "it needs fsck (>= 1)",
		"foreign":           "it needs e2fsprogs:i386",
		"broken":            "resolve broken 1: relations",
		"":                  "no package of that name",
	} {
		if _, err := a.Resolve(Requests(name)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", name, err, says)
		}
	}
}

func TestVersionsCompareAsDpkgDoes(t *testing.T) {
	versions := []string{"1", "1.0", "1.0-1", "1.0-1+b1", "1.0~rc1-1", "1.0-1~bpo13+1", "1:0.1", "0:1.0", "1.0+dfsg-1",
		"1.10", "1.9", "1.0-1+deb13u1", "1.0-1+deb13u10", "1.0-1+deb13u9", "1.0a", "1.0~~", "001", "1.0-0"}
	for i, a := range versions {
		for _, b := range versions[:i+1] {
			got, err := compare(a, b)
			if err != nil {
				t.Fatal(err)
			}
			back, err := compare(b, a)
			if err != nil {
				t.Fatal(err)
			}
			op := "eq"
			switch {
			case got < 0 && back > 0:
				op = "lt"
			case got > 0 && back < 0:
				op = "gt"
			case got != 0 || back != 0:
				t.Errorf("%s and %s: %d one way, %d the other", a, b, got, back)
			}
			err = exec.Command("dpkg", "--compare-versions", a, op, b).Run()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				t.Errorf("dpkg denies that %s %s %s", a, op, b)
			} else if err != nil {
				t.Fatalf("dpkg is needed: %v", err)
			}
		}
	}
}

func TestProvides(t *testing.T) {
	var got []string
	for name, version := range provides("a, b (= 1.2) ,c:any (=3), , d (>= 4)") {
		got = append(got, name+"="+version)
	}
	if want := []string{"a=", "b=1.2", "c=3", "d="}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestIndexRefusesWhatIsNoPackage(t *testing.T) {
	good := stanza("good", "1", "")
	for name, index := range map[string]string{
		"no name":            strings.Replace(good, "Package: good\n", "", 1),
		"no hash":            strings.Replace(good, "SHA256: ", "SHA1: ", 1),
		"a size in words":    strings.Replace(good, "Size: 10", "Size: ten", 1),
		"a file that leaves": strings.Replace(good, "pool/main/", "../", 1),
		"a line of rubbish":  "rubbish\n" + good,
	} {
		if err := parseIndex(index, "amd64", func(*Package) error { return nil }); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestKeepFieldsIsBounded(t *testing.T) {
	index := stanza("one", "1", "Tag: a,\n b") + stanza("two", "2", "Depends: a,\n b")
	var kept bytes.Buffer
	if err := keepFields(&kept, strings.NewReader(index), int64(len(index))); err != nil {
		t.Fatal(err)
	}
	a, b := archiveOf(t, index), archiveOf(t, kept.String())
	if !slices.Equal(a.packages, b.packages) || len(a.packages) != 2 || a.packages[1].Depends != "a,\n b" {
		t.Errorf("from the whole: %v\nfrom what is kept: %v", a.packages, b.packages)
	}
	if strings.Contains(kept.String(), "Description") || strings.Contains(kept.String(), "goes on") || strings.Contains(kept.String(), "Tag") {
		t.Errorf("kept too much:\n%s", &kept)
	}
	if err := keepFields(&kept, strings.NewReader(index), int64(len(index)-1)); err == nil {
		t.Error("read beyond the limit")
	}
	if err := keepFields(&kept, strings.NewReader("Depends: "+strings.Repeat("x", maxIndexLine)), maxIndexBytes); err == nil {
		t.Error("took a line without end")
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(stanza("one", "1", "Depends: a (>= 1) | b:any, c\nProvides: d (= 1), e") + stanza("one", "2", "Source: x (3)"))
	f.Add("Package: a\n\n\n\nVersion: 1\n continued\n")
	f.Fuzz(func(t *testing.T, index string) {
		var kept bytes.Buffer
		if err := keepFields(&kept, strings.NewReader(index), 1<<16); err != nil {
			return
		}
		a := &Archive{byName: map[string]int{}, providers: map[string][]int{}, arch: "amd64"}
		if err := parseIndex(kept.String(), "amd64", a.add); err != nil {
			return
		}
		a.indexProviders()
		for name := range a.byName {
			packages, err := a.Resolve(Requests(name))
			if err == nil && !slices.ContainsFunc(packages, func(p Package) bool { return p.Name == name }) {
				t.Errorf("%q is not in its own closure", name)
			}
		}
	})
}

func BenchmarkOpenWarm(b *testing.B) {
	var index strings.Builder
	for i := range 70_000 {
		index.WriteString(stanza("package"+strings.Repeat("x", i%9)+string(rune('a'+i%26))+sum([]byte{byte(i), byte(i >> 8), byte(i >> 16)})[:8], "1", "Depends: libc6 (>= 2.36), libgcc-s1 (>= 3.0), libstdc++6 (>= 11)"))
	}
	m := newMirror(b)
	m.publishAll(index.String())
	o := m.options(b)
	o.MaxAge = 2 * maxClockSkew
	open(b, o)
	for b.Loop() {
		open(b, o)
	}
}
