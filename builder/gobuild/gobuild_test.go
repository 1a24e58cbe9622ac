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

func TestCompileErrorShowsTheCompilersWords(t *testing.T) {
	err := module(t, "package main\n\nfunc main() { undefined() }\n").Build(t.Context(), filepath.Join(t.TempDir(), "x"))
	if err == nil || !strings.Contains(err.Error(), "m.go:3:15") {
		t.Errorf("got %v", err)
	}
}
