// Command weigh tells what the packages of a Go program take of its file, as the
// tables in docs/size.md. The program has to have its symbols:
//
//	go build -o FILE ./cmd/skerry && go run ./tests/weigh FILE
//
// A symbol is a function, a variable or a constant of the linker's: the packages'
// sums are code and data. What the linker makes for all of them, the largest of
// which is the table of functions and lines (.gopclntab), belongs to no package
// and is in the table of sections.
package main

import (
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// rows is how long a table is.
const rows = 25

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: weigh PROGRAM")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "weigh:", err)
		os.Exit(1)
	}
}

// run is main without the process around it.
func run(out io.Writer, name string) error {
	w, err := weigh(name)
	if err != nil {
		return err
	}
	for _, t := range []struct {
		head   string
		weight map[string]int64
	}{{"section", w.sections}, {"module", w.modules}, {"package", w.packages}} {
		fmt.Fprintf(out, "| %s | bytes |\n|-|-:|\n", t.head)
		for _, key := range heaviest(t.weight, rows) {
			fmt.Fprintf(out, "| `%s` | %s |\n", key, grouped(t.weight[key]))
		}
		fmt.Fprintln(out)
	}
	return nil
}

// weights are bytes of a program's file by what they belong to.
type weights struct{ sections, modules, packages map[string]int64 }

// standard stands for the module of Go's own packages.
const standard = "std"

// weigh adds up the sections and symbols of a program.
func weigh(name string) (*weights, error) {
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		return nil, err
	}
	modules := []string{info.Main.Path}
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
	}
	file, err := elf.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: compile it without -ldflags=-s", name, err)
	}
	w := &weights{map[string]int64{}, map[string]int64{}, map[string]int64{}}
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			w.sections[s.Name] += int64(s.FileSize)
		}
	}
	for _, s := range symbols {
		if int(s.Section) >= len(file.Sections) || file.Sections[s.Section].Type == elf.SHT_NOBITS {
			continue // undefined, absolute, or without bytes in the file
		}
		of := packageOf(s.Name)
		if of == "" {
			continue
		}
		w.packages[of] += int64(s.Size)
		w.modules[moduleOf(of, modules)] += int64(s.Size)
	}
	return w, nil
}

// packageOf returns the import path in a symbol's name, and nothing for those
// that belong to no package. Of a generic function it is the one that declares
// it. The linker writes a dot in the last element as %2e.
func packageOf(symbol string) string {
	for _, prefix := range []string{"go:itab.", "type:.eq.", "type:.hash.", "type:"} {
		symbol = strings.TrimPrefix(symbol, prefix)
	}
	symbol = strings.TrimLeft(symbol, "*[]")
	if strings.HasPrefix(symbol, "go:") || strings.HasPrefix(symbol, "runtime.etext") {
		return ""
	}
	if end := strings.IndexAny(symbol, "[({,; "); end >= 0 {
		symbol = symbol[:end]
	}
	slash := strings.LastIndexByte(symbol, '/') + 1
	dot := strings.IndexByte(symbol[slash:], '.')
	if dot <= 0 {
		return ""
	}
	return symbol[:slash] + strings.ReplaceAll(symbol[slash:slash+dot], "%2e", ".")
}

// moduleOf returns the module of a package: the longest path that begins it.
func moduleOf(of string, modules []string) string {
	found := standard
	for _, m := range modules {
		if (of == m || strings.HasPrefix(of, m+"/")) && (found == standard || len(m) > len(found)) {
			found = m
		}
	}
	return found
}

// heaviest returns the keys with the largest weights.
func heaviest(weight map[string]int64, most int) []string {
	keys := slices.SortedFunc(maps.Keys(weight), func(a, b string) int {
		return cmp.Or(cmp.Compare(weight[b], weight[a]), strings.Compare(a, b))
	})
	return keys[:min(most, len(keys))]
}

// grouped writes a number with commas.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}
