package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/release"
)

// Options say what to build. Zero values are completed by Build.
type Options struct {
	Board    string
	Version  string   // of the release; from git if empty
	Config   string   // node config to put on partition boot; none if empty
	Overlays []string // besides those of the board
	Output   string   // folder for the release's files
	Formats  []string // of the disk image, from Formats; "img" if empty
	Release  bool     // compress the root as small as it gets, for publishing
	Locked   string   // manifest of an earlier build whose packages are used again
	Mirror   string   // Debian mirror; from apt's sources if empty
	Refresh  bool     // ask the mirror again even if it was asked lately
	Source   string   // root folder of the repository
	Cache    string   // folder of the cache; the user's if empty
}

// check refuses what can be refused without doing anything.
func (o Options) check() error {
	for _, f := range o.Formats {
		if !slices.Contains(Formats, f) {
			return fmt.Errorf("format %q: choose from %s", f, strings.Join(Formats, ", "))
		}
	}
	if o.Version != "" {
		if _, err := release.ParseVersion(o.Version); err != nil {
			return err
		}
	}
	return nil
}

// FindSource returns the root folder of the repository that dir lies in:
// boards, overlays and the programs of an image are taken from there.
func FindSource(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		contents, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(contents), "module github.com/skerry-os/skerry\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of Skerry: change into one, or pass --source", start)
		}
	}
}

// commit describes the state of the repository that is built.
type commit struct {
	Hash    string // empty outside git
	Time    time.Time
	Version string // what `git describe` makes of it
}

// readCommit asks git. SOURCE_DATE_EPOCH (reproducible-builds.org) overrides
// the commit's time, and stands in for it where there is no git.
func readCommit(ctx context.Context, source string) (commit, error) {
	var c commit
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", source}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := git("-c", "log.showSignature=false", "log", "-1", "--format=%H %ct"); err == nil {
		hash, seconds, _ := strings.Cut(out, " ")
		unix, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil {
			return c, fmt.Errorf("read the time of commit %s: %w", hash, err)
		}
		c.Hash, c.Time = hash, time.Unix(unix, 0).UTC()
		c.Version = "0.0.0-" + hash[:12]
		if tag, err := git("describe", "--tags", "--abbrev=12", "--match", "v[0-9]*"); err == nil {
			c.Version = strings.TrimPrefix(tag, "v")
		}
		if changed, err := git("status", "--porcelain", "--untracked-files=normal"); err == nil && changed != "" {
			c.Version += "-dirty"
		}
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		unix, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || unix < 0 {
			return c, fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be a number of seconds since 1970", epoch)
		}
		c.Time = time.Unix(unix, 0).UTC()
	}
	if c.Time.IsZero() {
		return c, errors.New("the time of the build is unknown: build from a git checkout, or set SOURCE_DATE_EPOCH")
	}
	return c, nil
}
