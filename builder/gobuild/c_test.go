package gobuild

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/tests/oracle"
)

const withC = `package main

// #cgo pkg-config: answer
// #include <stdlib.h>
// #include <answer.h>
import "C"

func main() { println(C.answer() + C.atoi(C.CString("1"))) }
`

// sysroot makes a sysroot in dir of the host's C library and a library of its
// own, libanswer.a. Without headers, it has those of libanswer only.
func sysroot(t *testing.T, dir string, headers bool) *C {
	t.Helper()
	triplet := triplets[runtime.GOARCH]
	lib := filepath.Join(dir, "usr/lib", triplet)
	write := func(name, contents string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(lib, "pkgconfig/answer.pc"), "prefix=/usr\nName: answer\nDescription: x\nVersion: 1\nLibs: -L${prefix}/lib/"+triplet+" -lanswer\nCflags: -I${prefix}/include/answer\n")
	write(filepath.Join(dir, "usr/include/answer/answer.h"), "int answer(void);\n")
	write(filepath.Join(dir, "answer.c"), "int answer(void) { return 41; }\n")
	oracle.Must(t, triplet+"-gcc", "-c", "-o", filepath.Join(dir, "answer.o"), filepath.Join(dir, "answer.c"))
	oracle.Must(t, "ar", "rcD", filepath.Join(lib, "libanswer.a"), filepath.Join(dir, "answer.o"))
	links := []string{}
	for _, name := range []string{"crt1.o", "crti.o", "crtn.o", "libc.a", "libpthread.a"} {
		links = append(links, "usr/lib/"+triplet+"/"+name)
	}
	if headers {
		entries, err := os.ReadDir("/usr/include")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			links = append(links, "usr/include/"+e.Name())
		}
	}
	for _, name := range links {
		if err := os.Symlink("/"+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return &C{Sysroot: dir, Key: "test"}
}

func TestAProgramWithCIsStaticAndTheSameFromEverySysroot(t *testing.T) {
	var outputs []string
	for _, name := range []string{"plain", "with a space"} {
		dir := filepath.Join(t.TempDir(), name)
		p := module(t, withC)
		p.GOARCH, p.C = runtime.GOARCH, sysroot(t, dir, true)
		out := filepath.Join(t.TempDir(), name)
		if err := p.Build(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		if files, err := os.ReadDir(filepath.Dir(out)); err != nil || len(files) != 1 {
			t.Errorf("there is more than the program: %v, %v", files, err)
		}
		file, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for _, segment := range file.Progs {
			if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
				t.Errorf("it has a segment %v", segment.Type)
			}
		}
		if said, err := exec.Command(out).CombinedOutput(); err != nil || string(said) != "42\n" {
			t.Errorf("it said %q, %v", said, err)
		}
		contents, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(contents), dir) || strings.Contains(string(contents), "skerry-sysroot") {
			t.Error("the name of the sysroot's folder is in it")
		}
		outputs = append(outputs, string(contents))
	}
	if outputs[0] != outputs[1] {
		t.Error("the two programs differ")
	}
}

func TestHeadersOfTheHostAreNotSeen(t *testing.T) {
	p := module(t, withC)
	p.GOARCH, p.C = runtime.GOARCH, sysroot(t, t.TempDir(), false)
	err := p.Build(t.Context(), filepath.Join(t.TempDir(), "hello"))
	if err == nil || !strings.Contains(err.Error(), "stdlib.h: No such file") {
		t.Errorf("got %v", err)
	}
}

func TestLibrariesOfTheHostAreNotSeen(t *testing.T) {
	p := module(t, withC)
	p.GOARCH, p.C = runtime.GOARCH, sysroot(t, t.TempDir(), true)
	if err := os.Remove(filepath.Join(p.C.Sysroot, "usr/lib", triplets[runtime.GOARCH], "libc.a")); err != nil {
		t.Fatal(err)
	}
	err := p.Build(t.Context(), filepath.Join(t.TempDir(), "hello"))
	if err == nil || !strings.Contains(err.Error(), "libc.a") {
		t.Errorf("got %v", err)
	}
}

func TestFingerprintFollowsTagsAndSysroot(t *testing.T) {
	p := module(t, hello)
	p.GOARCH = runtime.GOARCH
	seen := map[string]string{}
	look := func(what string) {
		t.Helper()
		sum, err := p.Fingerprint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[sum] != "" {
			t.Errorf("%s does not change the fingerprint of %s", what, seen[sum])
		}
		seen[sum] = what
	}
	look("a program")
	p.Tags = []string{"a"}
	look("a tag")
	p.C = &C{Sysroot: t.TempDir(), Key: "1"}
	look("C")
	p.C.Key = "2"
	look("another sysroot")
}
