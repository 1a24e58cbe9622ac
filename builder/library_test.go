package builder

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionsOfLibrariesAreTold(t *testing.T) {
	deps := []*debug.Module{{Path: "a", Version: "v1", Sum: "s1"}, {Path: "b", Version: "v2", Replace: &debug.Module{Path: "c", Version: "v3", Sum: "s3"}}}
	if got, err := versionsOf(deps, []string{"a", "b"}); err != nil || got != "a v1 s1\nc v3 s3" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := versionsOf(deps, []string{"a", "c"}); err == nil || !strings.Contains(err.Error(), "module c") {
		t.Errorf("got %v", err)
	}
}

// A module that the builder does not use any more would fail every build.
func TestLibrariesThatMakeBytesArePartOfTheBuilder(t *testing.T) {
	program := filepath.Join(t.TempDir(), "builder")
	cmd := exec.Command("go", "build", "-o", program, "../cmd/builder")
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := versionsOf(info.Deps, []string{libraryZstd, libraryCpio, libraryGPT}); err != nil || strings.Count(got, " v") != 3 {
		t.Errorf("got %q, %v", got, err)
	}
}
