package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/hosttool"
)

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
	// Not `git rev-parse`, which also answers for a repository around this one
	// and fails alike for "no repository" and for one that it cannot read.
	if _, err := os.Lstat(filepath.Join(source, ".git")); err == nil {
		if c, err = askGit(ctx, source); err != nil {
			return c, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return c, err
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

// gitVariables say which repositories of other owners git may read, and whose
// command this is. All else, such as the GIT_DIR of a hook, would change what
// git answers.
var gitVariables = []string{"HOME", "XDG_CONFIG_HOME", "SUDO_UID", "GIT_CONFIG_*"}

// askGit reads the commit of a checkout.
func askGit(ctx context.Context, source string) (commit, error) {
	var c commit
	git := func(args ...string) (string, error) {
		cmd := hosttool.Command(ctx, gitVariables, "git", append([]string{"-C", source, "-c", "log.showSignature=false"}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err = hosttool.Explain(ctx, cmd, err, stderr.String()); err != nil && ctx.Err() == nil {
			err = fmt.Errorf("read the commit of the checkout %s: %w", source, err)
		}
		return strings.TrimSpace(string(out)), err
	}
	out, err := git("log", "-1", "--format=%H %ct")
	if err != nil {
		return c, err
	}
	hash, seconds, _ := strings.Cut(out, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || len(hash) < 40 {
		return c, fmt.Errorf("read the commit of the checkout %s: git answers %.80q", source, out)
	}
	c.Hash, c.Time = hash, time.Unix(unix, 0).UTC()
	c.Version = "0.0.0-" + hash[:12]
	// Where there is no such tag, --always prints a hash, which no v begins.
	tag, err := git("describe", "--tags", "--always", "--abbrev=12", "--match", "v[0-9]*")
	if err != nil {
		return c, err
	}
	if version, ok := strings.CutPrefix(tag, "v"); ok {
		c.Version = version
	}
	changed, err := git("status", "--porcelain", "--untracked-files=normal")
	if err != nil {
		return c, err
	}
	if changed != "" {
		c.Version += "-dirty"
	}
	return c, nil
}
