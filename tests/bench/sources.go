package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/builder/disk"
)

// copySources copies the repository as it is now, what is not committed
// included, into a folder and commits it there: builds ask git for the version.
func (s *session) copySources(ctx context.Context, to string) error {
	listed, err := s.command(ctx, s.source, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return fmt.Errorf("list the sources: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(listed.stdout, "\x00"), "\x00") {
		if err := copySource(ctx, filepath.Join(to, name), filepath.Join(s.source, name)); err != nil {
			return fmt.Errorf("copy the sources: %w", err)
		}
	}
	git := func(args ...string) error {
		_, err := s.command(ctx, to, nil, "git", append([]string{"-c", "user.name=bench", "-c", "user.email=bench@localhost"}, args...)...)
		return err
	}
	if err := git("init", "--quiet"); err != nil {
		return err
	}
	if err := git("add", "--all", "--force"); err != nil {
		return err
	}
	return git("commit", "--quiet", "--no-gpg-sign", "--message", "What is measured")
}

func copySource(ctx context.Context, to, from string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted, and git does not know yet
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if err := disk.Copy(ctx, to, from); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode().Perm())
}

// changedFile is where changeAgent changes the agent.
const changedFile = "agent/status/benchmark.go"

// changeAgent changes the agent so that its program differs and most of its
// packages are compiled again: the change is in what a package exports that
// nearly all others import.
func changeAgent(source string, run int) error {
	text := fmt.Sprintf(`package status

import "os"

// Benchmark is another one in each run.
const Benchmark = "benchmark %d"

// The linker leaves out what cannot be reached.
func init() {
	if len(os.Args) > 1<<20 {
		println(Benchmark)
	}
}
`, run)
	return os.WriteFile(filepath.Join(source, changedFile), []byte(text), 0o644)
}
