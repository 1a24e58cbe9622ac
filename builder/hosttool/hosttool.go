// Package hosttool runs programs of the machine that builds. What they make
// goes into images, so they get an environment of their own: XZ_OPT, GIT_DIR
// or a locale of the person who builds must not change the bytes.
package hosttool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Command prepares a program that sees nothing of the caller's environment but
// PATH and the variables named in keep; a name that ends with * stands for all
// that begin so. When ctx ends it is killed.
func Command(ctx context.Context, keep []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment(os.Environ(), append(slices.Clone(keep), "PATH"))
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func environment(all, keep []string) []string {
	kept := []string{"LC_ALL=C", "TZ=UTC"}
	for _, variable := range all {
		name, _, _ := strings.Cut(variable, "=")
		if slices.ContainsFunc(keep, func(k string) bool {
			prefix, many := strings.CutSuffix(k, "*")
			return name == k || many && strings.HasPrefix(name, prefix)
		}) {
			kept = append(kept, variable)
		}
	}
	return kept
}

// Run runs a program to its end. Its error has what the program said.
func Run(ctx context.Context, stdout io.Writer, name string, args ...string) error {
	cmd := Command(ctx, nil, name, args...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	return Explain(ctx, cmd, cmd.Run(), stderr.String())
}

// Explain says why a command failed: the context's end, a program that is not
// there, or what it said.
func Explain(ctx context.Context, cmd *exec.Cmd, err error, stderr string) error {
	name := cmd.Args[0]
	stderr = strings.TrimSpace(stderr)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not installed: run `make deps`: %w", name, err)
	case stderr != "":
		return fmt.Errorf("%s: %w: %s", name, err, stderr)
	}
	return fmt.Errorf("%s: %w", name, err)
}
