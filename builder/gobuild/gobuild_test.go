package gobuild

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a program of one file into a folder of its own.
func module(t *testing.T, main string) Program {
	t.Helper()
	dir := t.TempDir()
	for name, contents := range map[string]string{
		"go.mod":          "module example.com/hello\n\ngo 1.26\n",
		"cmd/hello/m.go":  main,
		"cmd/hello/x.txt": "unused",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Program{Source: dir, Package: "./cmd/hello", GOARCH: "arm64"}
}

const hello = "package main\n\nfunc main() { println(\"hello\") }\n"

func TestSameSourcesInTwoFoldersGiveTheSameBytes(t *testing.T) {
	var outputs []string
	for range 2 {
		out := filepath.Join(t.TempDir(), "hello")
		if err := module(t, hello).Build(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		contents, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, string(contents))
		f, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != elf.EM_AARCH64 {
			t.Errorf("compiled for %v", f.Machine)
		}
	}
	if outputs[0] != outputs[1] {
		t.Error("the two programs differ")
	}
}

func TestFingerprintFollowsTheSourcesOnly(t *testing.T) {
	fingerprint := func(p Program) string {
		t.Helper()
		sum, err := p.Fingerprint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first := fingerprint(module(t, hello))
	p := module(t, hello)
	if fingerprint(p) != first {
		t.Error("the folder's name changes the fingerprint")
	}
	if err := os.WriteFile(filepath.Join(p.Source, "cmd/hello/x.txt"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if fingerprint(p) != first {
		t.Error("a file that is not compiled changes the fingerprint")
	}
	if fingerprint(module(t, hello+"\n// more\n")) == first {
		t.Error("a changed source does not change the fingerprint")
	}
	p.GOARCH = "amd64"
	if fingerprint(p) == first {
		t.Error("the architecture does not change the fingerprint")
	}
}

func TestFingerprintFollowsTheModules(t *testing.T) {
	p := module(t, hello)
	add := func(name, contents string) string {
		t.Helper()
		name = filepath.Join(p.Source, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(contents); err != nil {
			t.Fatal(err)
		}
		sum, err := p.Fingerprint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	before := add("x", "")
	for _, step := range []struct{ name, contents string }{
		{"go.mod", "\ngodebug default=go1.25\n"},
		{"go.sum", "example.com/y v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"},
		{"cmd/hello/x.go", "package main\n\nimport _ \"example.com/local\"\n"},
		{"local/y.go", "package local\n\n// changed\n"},
	} {
		if step.name == "cmd/hello/x.go" { // a module that is replaced by a folder
			add("local/go.mod", "module example.com/local\n")
			add("local/x.go", "package local\n")
			add("go.mod", "\nrequire example.com/local v1.0.0\nreplace example.com/local => ./local\n")
		}
		after := add(step.name, step.contents)
		if after == before {
			t.Errorf("a change of %s does not change the fingerprint", step.name)
		}
		before = after
	}
}

func TestSettingsOfThePersonWhoBuildsDoNotCount(t *testing.T) {
	p := module(t, hello)
	before, err := p.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"GOFLAGS", "GOEXPERIMENT", "GOFIPS140", "GOARM64", "GOWORK", "GOOS"} {
		t.Setenv(name, "no-such")
	}
	// What `go env -w` writes has no word either.
	settings := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(settings, []byte("GOFLAGS=-no-such\nGOFIPS140=no-such\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOENV", settings)
	if after, err := p.Fingerprint(t.Context()); err != nil || after != before {
		t.Errorf("another fingerprint, %v", err)
	}
	if err := p.Build(t.Context(), filepath.Join(t.TempDir(), "hello")); err != nil {
		t.Error(err)
	}
}

func TestCompileErrorShowsTheCompilersWords(t *testing.T) {
	err := module(t, "package main\n\nfunc main() { undefined() }\n").Build(t.Context(), filepath.Join(t.TempDir(), "x"))
	if err == nil || !strings.Contains(err.Error(), "m.go:3:15") {
		t.Errorf("got %v", err)
	}
}
