// Package kmodtest makes small kernel modules for tests: ELF objects with what
// depmod and modinfo look at, compiled by the host's gcc. They do nothing and
// belong to no kernel.
package kmodtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Module describes a module to be made.
type Module struct {
	Path    string   // below the folder of the release: kernel/fs/ext4.ko
	Depends []string // names of modules; a symbol of each is used
	Info    []string // more entries of .modinfo: "alias=fs-ext4"
}

// Write compiles modules below dir, which stands for lib/modules/RELEASE, and
// writes modules.order.
func Write(t testing.TB, dir string, modules []Module) {
	t.Helper()
	work := t.TempDir()
	args := []string{"-c", "-w", "-O0"}
	var order strings.Builder
	for i, m := range modules {
		source := fmt.Sprintf("m%d.c", i)
		if err := os.WriteFile(filepath.Join(work, source), []byte(m.source()), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, source)
		fmt.Fprintln(&order, m.Path)
	}
	gcc := exec.Command("gcc", args...)
	gcc.Dir = work
	if out, err := gcc.CombinedOutput(); err != nil {
		t.Fatalf("compile test modules with gcc (package gcc): %v\n%s", err, out)
	}
	for i, m := range modules {
		to := filepath.Join(dir, m.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		object, err := os.ReadFile(filepath.Join(work, fmt.Sprintf("m%d.o", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, object, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "modules.order"), []byte(order.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// source exports the symbol NAME_symbol and uses those of the dependencies.
// depmod takes exported names from __ksymtab_strings.
func (m Module) source() string {
	name := identifier(strings.TrimSuffix(filepath.Base(m.Path), ".ko"))
	info := append([]string{"name=" + name, "depends=" + strings.Join(m.Depends, ",")}, m.Info...)
	var c strings.Builder
	fmt.Fprintf(&c, "static const char info[] __attribute__((section(\".modinfo\"), used)) = %q;\n", "license=GPL")
	for i, entry := range info {
		fmt.Fprintf(&c, "static const char info%d[] __attribute__((section(\".modinfo\"), used, aligned(1))) = %q;\n", i, entry)
	}
	fmt.Fprintf(&c, "static const char exported[] __attribute__((section(\"__ksymtab_strings\"), used)) = \"%s_symbol\";\n", name)
	for _, d := range m.Depends {
		fmt.Fprintf(&c, "void %s_symbol(void);\n", identifier(d))
	}
	fmt.Fprintf(&c, "void %s_symbol(void) {\n", name)
	for _, d := range m.Depends {
		fmt.Fprintf(&c, "\t%s_symbol();\n", identifier(d))
	}
	c.WriteString("}\n")
	return c.String()
}

func identifier(name string) string { return strings.ReplaceAll(name, "-", "_") }
