package builder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repository makes a folder that looks like the root of Skerry's, under git.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/skerry-os/skerry\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--date=2026-01-02T03:04:05Z", "-m", "x"},
	} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return dir
}

func TestVersionAndTimeComeFromGit(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	root := repository(t)
	first, err := readCommit(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); !first.Time.Equal(want) || first.Version != "0.0.0-"+first.Hash[:12] {
		t.Errorf("got %+v", first)
	}
	if out, err := exec.Command("git", "-C", root, "tag", "v1.2.0").CombinedOutput(); err != nil {
		t.Fatalf("git tag: %v\n%s", err, out)
	}
	if tagged, err := readCommit(t.Context(), root); err != nil || tagged.Version != "1.2.0" {
		t.Errorf("tagged: %+v, %v", tagged, err)
	}
	if err := os.WriteFile(filepath.Join(root, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if dirty, err := readCommit(t.Context(), root); err != nil || dirty.Version != "1.2.0-dirty" {
		t.Errorf("changed: %+v, %v", dirty, err)
	}
}

func TestSourceDateEpochStandsInForGit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if c, err := readCommit(t.Context(), dir); err != nil || c.Time.Unix() != 1700000000 || c.Version != "" {
		t.Errorf("got %+v, %v", c, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := readCommit(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("no number: %v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if _, err := readCommit(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("neither: %v", err)
	}
}

// A build whose version and time silently come from elsewhere is worse than none.
func TestCheckoutThatGitCannotReadIsAnError(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	for want, damage := range map[string]func(root string){
		"not a git repository": func(root string) {
			if err := os.Remove(filepath.Join(root, ".git", "HEAD")); err != nil {
				t.Fatal(err)
			}
		},
		"does not have any commits": func(root string) {
			if err := os.RemoveAll(filepath.Join(root, ".git", "refs", "heads")); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(root, ".git", "refs", "heads"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"git is not installed": func(string) { t.Setenv("PATH", t.TempDir()) },
	} {
		t.Run(want, func(t *testing.T) {
			root := repository(t)
			t.Setenv("PATH", os.Getenv("PATH")) // back again afterwards
			damage(root)
			if c, err := readCommit(t.Context(), root); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), root) {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestRepositoryAroundTheSourcesIsNotTheirs(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	inside := filepath.Join(repository(t), "skerry-1.2.0")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if c, err := readCommit(t.Context(), inside); err != nil || c.Hash != "" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Hooks run with GIT_DIR set.
func TestGitIsAskedAboutTheSourcesWhateverTheEnvironmentSays(t *testing.T) {
	root := repository(t)
	t.Setenv("GIT_DIR", filepath.Join(t.TempDir(), "elsewhere"))
	if c, err := readCommit(t.Context(), root); err != nil || c.Hash == "" {
		t.Errorf("got %+v, %v", c, err)
	}
}
