// Command typecheck checks the types of programs and of all that they are
// compiled from, for another architecture or system. It reads the sources and
// compiles nothing.
//
//	go run ./tests/typecheck -os darwin -arch arm64 ./cmd/builder
//
// It finds fields of system calls that have other types, files that an
// architecture or system lacks, and on 32 bits constants that overflow. What only
// the compiler and the linker know, such as missing assembler, it does not find. C
// is left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/tools/go/packages"
)

func main() {
	system := flag.String("os", "linux", "operating system, as Go names it")
	arch := flag.String("arch", "arm", "architecture, as Go names it")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: typecheck [-os SYSTEM] [-arch ARCHITECTURE] PACKAGE…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := check(ctx, os.Stdout, ".", *system, *arch, flag.Args()...); err != nil {
		fmt.Fprintln(os.Stderr, "typecheck:", err)
		os.Exit(1)
	}
}

// check checks the packages of patterns, as the go command in folder dir knows
// them, and all that they import. It prints every error, and then how many
// packages it was.
func check(ctx context.Context, out io.Writer, dir, system, arch string, patterns ...string) error {
	loaded, err := packages.Load(&packages.Config{
		Context: ctx, Dir: dir,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesSizes,
		Env: append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0"),
	}, patterns...)
	if err != nil {
		return fmt.Errorf("load the sources for %s/%s: %w", system, arch, err)
	}
	all, wrong := 0, 0
	packages.Visit(loaded, nil, func(p *packages.Package) {
		all++
		for _, e := range p.Errors {
			wrong++
			fmt.Fprintf(out, "%s: %v\n", p.PkgPath, e)
		}
	})
	fmt.Fprintf(out, "%s/%s: %d packages\n", system, arch, all)
	switch {
	case all == 0:
		return errors.New("no package matches")
	case wrong > 0:
		return fmt.Errorf("%d errors in what is compiled for %s/%s", wrong, system, arch)
	}
	return nil
}
