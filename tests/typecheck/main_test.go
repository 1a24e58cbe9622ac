package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module makes a module of a program that imports package deep.
func module(t *testing.T, deep string) string {
	t.Helper()
	dir := t.TempDir()
	for name, contents := range map[string]string{
		"go.mod":       "module example.com/m\n\ngo 1.26\n",
		"main.go":      "package main\n\nimport \"example.com/m/deep\"\n\nfunc main() { println(deep.Large) }\n",
		"deep/deep.go": deep,
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWhatOverflows32BitsIsFoundInWhatAProgramImports(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	dir := module(t, "package deep\n\nconst Large = 1\n\nfunc Overflows() int { return 1 << 40 }\n")
	var out bytes.Buffer
	if err := check(t.Context(), &out, dir, "linux", "amd64", "."); err != nil || !strings.HasPrefix(out.String(), "linux/amd64: ") {
		t.Errorf("64 bits: %v\n%s", err, &out)
	}
	out.Reset()
	err := check(t.Context(), &out, dir, "linux", "arm", ".")
	if err == nil || !strings.Contains(err.Error(), "1 errors") || !strings.Contains(out.String(), "deep.go:5:") || !strings.Contains(out.String(), "overflows") {
		t.Errorf("32 bits: %v\n%s", err, &out)
	}
}

func TestAFileThatAnArchitectureLacksIsFound(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	dir := module(t, "//go:build !arm\n\npackage deep\n\nconst Large = 1\n")
	var out bytes.Buffer
	if err := check(t.Context(), &out, dir, "linux", "arm64", "."); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if err := check(t.Context(), &out, dir, "linux", "arm", "."); err == nil {
		t.Errorf("nothing is wrong:\n%s", &out)
	}
}

func TestPatternsThatMatchNothingAreAnError(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	dir := module(t, "package deep\n\nconst Large = 1\n")
	for _, pattern := range []string{"./nowhere", "example.com/m/none/..."} {
		if err := check(t.Context(), &bytes.Buffer{}, dir, "linux", "arm", pattern); err == nil {
			t.Errorf("%s is found", pattern)
		}
	}
}
