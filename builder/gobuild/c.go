package gobuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skerry-os/skerry/builder/hosttool"
)

// C is what the C of a program is compiled with: the cross compiler of the host
// for the program's architecture, and headers and libraries that are not the
// host's. Of the host the result has code that its compiler makes and the
// compiler's own runtime (libgcc), nothing else. Everything is linked in.
type C struct {
	// Folder with headers and static libraries as Debian has them: usr/include,
	// usr/lib/TRIPLET.
	Sysroot string
	// Stands for the contents of the sysroot.
	Key string
}

// triplets are what Debian calls an architecture in names of compilers and
// folders (GNU triplets).
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// compiler returns the name of the compiler for an architecture.
func compiler(goarch string) (triplet, gcc string, err error) {
	triplet, ok := triplets[goarch]
	if !ok {
		return "", "", fmt.Errorf("compile C for %s: no cross compiler for it is known", goarch)
	}
	return triplet, triplet + "-gcc", nil
}

// plainName gives the sysroot another name for a while. Spaces and quotes in a
// flag survive the go command if they are quoted well, but not pkgconf 1.8.
func (c *C) plainName() (plain *C, remove func(), err error) {
	dir, err := os.MkdirTemp("", "skerry-sysroot-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	link := filepath.Join(dir, "sysroot")
	if strings.ContainsAny(link, " \t\n'\"\\") {
		remove()
		return nil, nil, fmt.Errorf("the name of the folder for temporary files, %s, has spaces or quotes: C cannot be compiled there: set TMPDIR", os.TempDir())
	}
	sysroot, err := filepath.Abs(c.Sysroot)
	if err == nil {
		err = os.Symlink(sysroot, link)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return &C{Sysroot: link, Key: c.Key}, remove, nil
}

// environment returns the variables by which the go command compiles and links
// C (go help environment).
func (c *C) environment(ctx context.Context, goarch string) ([]string, error) {
	triplet, gcc, err := compiler(goarch)
	if err != nil {
		return nil, err
	}
	headers, err := ask(ctx, gcc, "-print-file-name=include")
	if err != nil {
		return nil, err
	}
	libraries := filepath.Join(c.Sysroot, "usr/lib", triplet)
	return []string{
		"CGO_ENABLED=1",
		"CC=" + gcc,
		// The compiler looks into folders of the host even with --sysroot; only
		// its own headers (stddef.h and so on) are wanted. Names of folders must
		// not get into the program.
		"CGO_CFLAGS=-O2 -g0 -nostdinc -isystem " + headers +
			" -isystem " + filepath.Join(c.Sysroot, "usr/include", triplet) +
			" -isystem " + filepath.Join(c.Sysroot, "usr/include") +
			" -ffile-prefix-map=" + c.Sysroot + "=",
		// -B goes before the host's folders for crt1.o and libraries alike.
		"CGO_LDFLAGS=--sysroot=" + c.Sysroot + " -B" + libraries + " -L" + libraries,
		"PKG_CONFIG_LIBDIR=" + filepath.Join(libraries, "pkgconfig"),
		"PKG_CONFIG_SYSROOT_DIR=" + c.Sysroot,
	}, nil
}

// linkFlags returns what the C compiler links a program with. The linker says
// what it read in a file beside the program.
func (c *C) linkFlags(output string) string {
	return `-static -Wl,--build-id=none "-Wl,--dependency-file=` + inputsOf(output) + `"`
}

func inputsOf(output string) string { return output + ".inputs" }

// checkLinked looks for libraries of the host in a program that was linked. A
// compiler for the host's own architecture looks for them in the host's folders
// too, last of all and whatever its options are, and links what it finds there.
func (c *C) checkLinked(ctx context.Context, goarch, output string) error {
	contents, err := os.ReadFile(inputsOf(output))
	if err != nil {
		return fmt.Errorf("see what %s was linked from: %w", output, err)
	}
	_, gcc, err := compiler(goarch)
	if err != nil {
		return err
	}
	runtime, err := ask(ctx, gcc, "-print-file-name=libgcc.a")
	if err != nil {
		return err
	}
	// A rule for make(1): "PROGRAM: \" and one input a line; behind it rules
	// without inputs.
	rule, _, _ := strings.Cut(string(contents), "\n\n")
	for line := range strings.Lines(rule) {
		file, isInput := strings.CutPrefix(strings.TrimSuffix(strings.TrimRight(line, "\n"), " \\"), "  ")
		dir := filepath.Dir(file)
		switch {
		case !isInput, within(c.Sysroot, file), dir == filepath.Dir(runtime), strings.HasPrefix(filepath.Base(dir), "go-link-"):
		default:
			return fmt.Errorf("%s was linked with %s of the host: name the package that has it in libraries", output, file)
		}
	}
	return os.Remove(inputsOf(output))
}

func within(dir, file string) bool {
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}

// fingerprint returns a digest of the compiler, the linker, and what of the
// compiler becomes part of programs.
func (c *C) fingerprint(ctx context.Context, goarch string) (string, error) {
	_, gcc, err := compiler(goarch)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, question := range []string{"cc1", "collect2", "as", "ld"} {
		program, err := ask(ctx, gcc, "-print-prog-name="+question)
		if err != nil {
			return "", err
		}
		digest, err := hosttool.Fingerprint(ctx, program)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %s\n", question, digest)
	}
	for _, question := range []string{"libgcc.a", "libgcc_eh.a", "crtbeginT.o", "crtend.o"} {
		file, err := ask(ctx, gcc, "-print-file-name="+question)
		if err != nil {
			return "", err
		}
		contents, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("take the fingerprint of %s: %w: run `make deps`", gcc, err)
		}
		fmt.Fprintf(sum, "%s %x\n", question, sha256.Sum256(contents))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// ask returns what the compiler says to one question.
func ask(ctx context.Context, gcc, question string) (string, error) {
	var out bytes.Buffer
	if err := hosttool.Run(ctx, &out, gcc, question); err != nil {
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}
