package hosttool

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFingerprintFollowsTheProgramAndItsLibraries(t *testing.T) {
	fingerprint := func() string {
		t.Helper()
		sum, err := Fingerprint(t.Context(), "xz")
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	before := fingerprint()
	if fingerprint() != before {
		t.Error("it differs from itself")
	}
	// The same program somewhere else, and with one byte more.
	path, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, "xz")
	contents, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, contents, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if fingerprint() != before {
		t.Error("the folder's name changes the fingerprint")
	}
	if err := os.WriteFile(copied, append(contents, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	if fingerprint() == before {
		t.Error("another program has the same fingerprint")
	}
	if _, err := Fingerprint(t.Context(), "no-such-program-here"); err == nil || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("missing: %v", err)
	}
}

// ldd is the judge of what a program loads.
func TestLibrariesAreThoseThatLddNames(t *testing.T) {
	path, err := exec.LookPath("mkfs.erofs")
	if err != nil {
		t.Fatal(err, "(run `make deps`)")
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := loaded(string(out))
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(f), "liblz4.so.") }) {
		t.Errorf("no liblz4 among %v", files)
	}
	for _, file := range files {
		if f, err := os.Open(file); err != nil {
			t.Error(err)
		} else if _, err := io.CopyN(io.Discard, f, 4); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(string(out), "\n") - 1; len(files) != n { // but for the kernel's vdso
		t.Errorf("%d files of %d lines:\n%s", len(files), n, out)
	}
}
