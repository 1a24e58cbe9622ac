package hosttool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Fingerprint returns a digest of a program and of the shared libraries that it
// loads, for the keys of caches. Versions would not do: mkfs.erofs says nothing
// of the liblz4 that does its work, and a distribution's patch changes neither.
// A program that is a script counts with its own text only.
func Fingerprint(ctx context.Context, name string) (string, error) {
	program, err := exec.LookPath(name)
	if err != nil {
		return "", Explain(ctx, Command(ctx, nil, name), err, "")
	}
	// This is how ldd(1) asks the dynamic loader, which then runs no program.
	// One that is static runs, and prints its version.
	cmd := Command(ctx, nil, program, "--version")
	cmd.Env = append(cmd.Env, "LD_TRACE_LOADED_OBJECTS=1")
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		return "", fmt.Errorf("find the libraries of %s: %w", name, Explain(ctx, cmd, err, ""))
	}
	files := append(loaded(string(out)), program)
	slices.Sort(files)
	sum := sha256.New()
	for _, file := range slices.Compact(files) {
		contents, err := digest(file)
		if err != nil {
			return "", fmt.Errorf("take the fingerprint of %s: %w", name, err)
		}
		fmt.Fprintf(sum, "%q %x\n", filepath.Base(file), contents)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// loaded returns the files that the dynamic loader names, in lines such as
// "libz.so.1 => /lib/libz.so.1 (0x7f…)" and "/lib64/ld-linux.so.2 (0x7f…)".
func loaded(out string) []string {
	var files []string
	for line := range strings.Lines(out) {
		file, _, ok := strings.Cut(strings.TrimSpace(line), " (0x")
		if _, after, arrow := strings.Cut(file, " => "); arrow {
			file = after
		}
		if ok && filepath.IsAbs(file) {
			files = append(files, file)
		}
	}
	return files
}

func digest(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return sum.Sum(nil), err
}
