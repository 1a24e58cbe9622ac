// Package gobuild compiles the programs of an image from the Go sources of
// this repository, for the architecture of the board, so that the same sources
// and toolchain give the same bytes in any folder.
package gobuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/hosttool"
)

// Program names a command of the repository and what it is compiled for.
type Program struct {
	Source  string // root folder of the repository
	Package string // e.g. ./cmd/agent, or a package of a module that go.mod names as a tool
	GOARCH  string
	Tags    []string // build tags
	C       *C       // what its C is compiled with; nil for a program without
}

// variables say where the go command finds toolchain, modules and caches. No
// other setting of the person who builds must change the result.
var variables = []string{"HOME", "XDG_*", "TMPDIR", "GOPATH", "GOROOT", "GOENV", "GOTOOLCHAIN", "GOCACHE", "GOTMPDIR",
	"GOMODCACHE", "GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH", "NETRC",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_*"}

// Build compiles the program, static and stripped, to output.
func (p Program) Build(ctx context.Context, output string) error {
	flags := "-ldflags=-s -w -buildid="
	if p.C != nil {
		plain, remove, err := p.C.plainName()
		if err != nil {
			return err
		}
		defer remove()
		p.C = plain
		flags += " -linkmode=external '-extldflags=" + p.C.linkFlags(output) + "'"
	}
	args := slices.Concat([]string{"build", "-trimpath", "-buildvcs=false", flags}, p.tags(), []string{"-o", output, p.Package})
	if _, err := p.run(ctx, args...); err != nil || p.C == nil {
		return err
	}
	return p.C.checkLinked(ctx, p.GOARCH, output)
}

// tags returns the flag for the build tags, if there are any. The C library
// cannot look up users and hosts in a static program: Go does both.
func (p Program) tags() []string {
	tags := p.Tags
	if p.C != nil {
		tags = slices.Concat(tags, []string{"netgo", "osusergo"})
	}
	if len(tags) == 0 {
		return nil
	}
	return []string{"-tags=" + strings.Join(tags, ",")}
}

// Version returns what `go version` says: the toolchain is part of what a
// build depends on.
func (p Program) Version(ctx context.Context) (string, error) {
	out, err := p.run(ctx, "env", "GOVERSION")
	return strings.TrimSpace(string(out)), err
}

// listed is what is asked of `go list` about a package.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	Module     *struct {
		Main          bool
		Path, Version string
		Replace       *struct{ Path, Version string }
	}
	GoFiles, CgoFiles, CFiles, HFiles, SFiles, SysoFiles, EmbedFiles []string
}

// pinned tells whether go.mod and go.sum say what is in the package: it is of
// another module, and not replaced by a folder.
func (l listed) pinned() bool {
	return l.Module != nil && !l.Module.Main && (l.Module.Replace == nil || l.Module.Replace.Version != "")
}

// Fingerprint returns a digest of all that the compiled program depends on:
// toolchain, source files, and the versions of modules.
// It costs a fraction of what a compile without changes costs.
func (p Program) Fingerprint(ctx context.Context) (string, error) {
	sum := sha256.New()
	toolchain, err := p.run(ctx, "env", "GOVERSION", "GOEXPERIMENT")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(sum, "%q %q %q %q\n", toolchain, p.Package, p.GOARCH, p.tags())
	if p.C != nil {
		compiler, err := p.C.fingerprint(ctx, p.GOARCH)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "C %q %q\n", compiler, p.C.Key)
	}
	// They pin the modules, and go.mod has the language version and GODEBUG.
	for _, name := range []string{"go.mod", "go.sum"} {
		contents, err := os.ReadFile(filepath.Join(p.Source, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(contents))
	}
	out, err := p.run(ctx, slices.Concat([]string{"list", "-deps",
		"-json=ImportPath,Dir,Standard,Module,GoFiles,CgoFiles,CFiles,HFiles,SFiles,SysoFiles,EmbedFiles"}, p.tags(), []string{p.Package})...)
	if err != nil {
		return "", err
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", fmt.Errorf("read what go list says of %s: %w", p.Package, err)
		}
		if pkg.Standard {
			continue
		}
		fmt.Fprintln(sum, "package", pkg.ImportPath)
		if pkg.pinned() {
			continue
		}
		files := slices.Concat(pkg.GoFiles, pkg.CgoFiles, pkg.CFiles, pkg.HFiles, pkg.SFiles, pkg.SysoFiles, pkg.EmbedFiles)
		for _, name := range files {
			contents, err := os.ReadFile(filepath.Join(pkg.Dir, name))
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(contents))
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (p Program) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := hosttool.Command(ctx, variables, "go", args...)
	cmd.Dir = p.Source
	// An empty value would leave the word to the file of `go env -w`.
	cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+p.GOARCH,
		"GOFLAGS=-trimpath", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off", "GOWORK=off")
	if p.C == nil {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	} else if settings, err := p.C.environment(ctx, p.GOARCH); err != nil {
		return nil, err
	} else {
		cmd.Env = append(cmd.Env, settings...)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("compile %s: the go command is not in PATH: install Go %s or newer", p.Package, minimumGo)
	}
	if err != nil {
		return nil, fmt.Errorf("go %s %s: %w\n%s", args[0], p.Package, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

const minimumGo = "1.26"
