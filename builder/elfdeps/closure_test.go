package elfdeps

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/skerry-os/skerry/builder/tree"
)

// hostTree holds programs of the host with all shared libraries beside them.
func hostTree(t *testing.T, programs ...string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	patterns := append([]string{"/usr/lib/*-linux-gnu/*.so*", "/usr/lib64/*", "/lib64/*"}, programs...)
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			p := usrPath(strings.TrimPrefix(name, "/"))
			switch {
			case info.Mode().IsRegular():
				err = tr.AddSource(p, 0o755, name)
			case info.Mode().Type() == fs.ModeSymlink:
				var to string
				if to, err = os.Readlink(name); err == nil {
					err = tr.AddSymlink(p, to)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return tr
}

// regular returns the paths of the regular files.
func regular(tr *tree.Tree) []string {
	return slices.DeleteFunc(tr.Paths(), func(p string) bool {
		f, _ := tr.Get(p)
		return !f.Mode.IsRegular()
	})
}

// lddFiles returns the real paths of what the host's dynamic linker loads.
func lddFiles(t *testing.T, program string) []string {
	t.Helper()
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatalf("ldd %s (package libc-bin): %v", program, err)
	}
	files := []string{realPath(t, program)}
	for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		files = append(files, realPath(t, m[1]))
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func realPath(t *testing.T, name string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(real, "/")
}

func TestClosureIsWhatTheDynamicLinkerLoads(t *testing.T) {
	for _, program := range []string{"/usr/bin/xz", "/usr/bin/dpkg", "/usr/sbin/mke2fs", "/usr/sbin/veritysetup"} {
		tr := hostTree(t, program)
		got, err := Closure(tr, []string{program})
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		if diff := cmp.Diff(lddFiles(t, program), regular(got)); diff != "" {
			t.Errorf("%s: -ldd +Closure\n%s", program, diff)
		}
	}
}

func TestClosureKeepsTheLinksOnTheWay(t *testing.T) {
	got, err := Closure(hostTree(t, "/usr/bin/xz"), []string{"usr/bin/xz"})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := MergeUsr(got)
	if err != nil {
		t.Fatal(err)
	}
	// The program names liblzma.so.5 and /lib64/ld-linux…; both are links.
	for _, p := range []string{"usr/lib/x86_64-linux-gnu/liblzma.so.5", "usr/lib64/ld-linux-x86-64.so.2"} {
		if f, ok := got.Get(p); !ok || f.Mode.Type() != fs.ModeSymlink {
			t.Errorf("%s is missing", p)
		}
		if _, ok := merged.Resolve(p); !ok {
			t.Errorf("%s leads nowhere", p)
		}
	}
	if _, ok := got.Get("lib64"); ok {
		t.Error("the links at the top belong to the root tree, not to the closure")
	}
}

// linked makes programs and libraries with gcc and puts them into a tree.
type linked struct {
	t    *testing.T
	dir  string
	tree *tree.Tree
}

func newLinked(t *testing.T) *linked {
	return &linked{t: t, dir: t.TempDir(), tree: hostTree(t)}
}

// make links name, a library unless it is called main, against libraries
// made before.
func (l *linked) make(name string, needs []string, flags ...string) string {
	l.t.Helper()
	out := filepath.Join(l.dir, name)
	args := append([]string{"-x", "c", "-o", out, "-", "-L" + l.dir, "-Wl,--no-as-needed", "-Wl,--unresolved-symbols=ignore-all"}, flags...)
	source := "int main(void) { return 0; }"
	if name != "main" {
		source = "int x;"
		args = append(args, "-shared", "-fPIC", "-Wl,-soname,"+name)
	}
	for _, n := range needs {
		args = append(args, "-l:"+n)
	}
	gcc := exec.Command("gcc", args...)
	gcc.Stdin = strings.NewReader(source)
	if output, err := gcc.CombinedOutput(); err != nil {
		l.t.Fatalf("gcc: %v\n%s", err, output)
	}
	return out
}

func (l *linked) put(p, host string) {
	l.t.Helper()
	if err := l.tree.AddSource(p, 0o755, host); err != nil {
		l.t.Fatal(err)
	}
}

func TestClosureFollowsRunpathAndRpath(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string // of the program
		mid   []string // flags of libmid.so
		where string   // of libdeep.so, which libmid.so needs and the program does not
		found bool
	}{
		{"runpath does not reach down", []string{"-Wl,--enable-new-dtags,-rpath,/opt/lib"}, nil, "opt/lib", false},
		{"rpath reaches down", []string{"-Wl,--disable-new-dtags,-rpath,/opt/lib"}, nil, "opt/lib", true},
		{"a runpath hides an rpath from above", []string{"-Wl,--disable-new-dtags,-rpath,/opt/lib"},
			[]string{"-Wl,--enable-new-dtags,-rpath,/nowhere"}, "opt/lib", false},
		{"default folder", []string{"-Wl,--enable-new-dtags,-rpath,/opt/lib"}, nil, "usr/lib/x86_64-linux-gnu", true},
		{"package that is not merged", []string{"-Wl,--enable-new-dtags,-rpath,$ORIGIN/../../opt/lib"}, nil, "lib", true},
	} {
		l := newLinked(t)
		deep := l.make("libdeep.so", nil)
		mid := l.make("libmid.so", []string{"libdeep.so"}, c.mid...)
		l.put("usr/bin/main", l.make("main", []string{"libmid.so"}, c.flags...))
		l.put("opt/lib/libmid.so", mid)
		l.put(c.where+"/libdeep.so", deep)
		got, err := Closure(l.tree, []string{"/bin/main"})
		if !c.found {
			if err == nil || !strings.Contains(err.Error(), "/bin/main: /opt/lib/libmid.so needs libdeep.so") {
				t.Errorf("%s: got error %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, p := range []string{"opt/lib/libmid.so", usrPath(c.where) + "/libdeep.so"} {
			if _, ok := got.Get(p); !ok {
				t.Errorf("%s: %s is missing", c.name, p)
			}
		}
	}
}

func TestClosureUsesALibraryThatIsLoadedAlready(t *testing.T) {
	// As systemd's programs do: only the program knows the private folder,
	// and another library needs what lies there.
	l := newLinked(t)
	private := l.make("libprivate.so", nil)
	user := l.make("libuser.so", []string{"libprivate.so"})
	l.put("usr/bin/main", l.make("main", []string{"libprivate.so", "libuser.so"}, "-Wl,--enable-new-dtags,-rpath,/usr/lib/private"))
	l.put("usr/lib/private/libprivate.so", private)
	l.put("usr/lib/libuser.so", user)
	if _, err := Closure(l.tree, []string{"usr/bin/main"}); err != nil {
		t.Error(err)
	}
}

func TestClosureKnowsALibraryByTheNameItGivesItself(t *testing.T) {
	l := newLinked(t)
	other := l.make("libother.so", nil)
	l.make("libasked.so", nil)
	user := l.make("libuser.so", []string{"libother.so"})
	l.put("usr/bin/main", l.make("main", []string{"libasked.so", "libuser.so"}, "-Wl,--enable-new-dtags,-rpath,/usr/lib/private"))
	// What lies under the name asked for calls itself libother.so.
	l.put("usr/lib/private/libasked.so", other)
	l.put("usr/lib/libuser.so", user)
	if _, err := Closure(l.tree, []string{"usr/bin/main"}); err != nil {
		t.Error(err)
	}
}

func TestClosurePassesOverLibrariesForAnotherMachine(t *testing.T) {
	l := newLinked(t)
	lib := l.make("libodd.so", nil)
	l.put("usr/bin/main", l.make("main", []string{"libodd.so"}, "-Wl,-rpath,/opt/arm:/opt/native"))
	foreign, err := os.ReadFile(lib)
	if err != nil {
		t.Fatal(err)
	}
	foreign[18] = 183 // EM_AARCH64
	if err := l.tree.AddBytes("opt/arm/libodd.so", 0o644, foreign); err != nil {
		t.Fatal(err)
	}
	l.put("opt/native/libodd.so", lib)
	got, err := Closure(l.tree, []string{"usr/bin/main"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Get("opt/arm/libodd.so"); ok {
		t.Error("took the library for another machine")
	}
	if _, ok := got.Get("opt/native/libodd.so"); !ok {
		t.Error("the right library is missing")
	}
}

func TestClosureErrorsNameProgramAndReason(t *testing.T) {
	tr := hostTree(t, "/usr/bin/xz")
	without := tree.New()
	for _, p := range tr.Paths() {
		if f, _ := tr.Get(p); !strings.Contains(p, "liblzma") && !f.Mode.IsDir() {
			if err := without.Add(p, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	loop := tree.New()
	for p, target := range map[string]string{"usr/bin/a": "b", "usr/bin/b": "a", "usr/bin/c": "nowhere"} {
		if err := loop.AddSymlink(p, target); err != nil {
			t.Fatal(err)
		}
	}
	for p, contents := range map[string]string{"usr/bin/script": "#!/bin/sh -e\n", "usr/bin/text": "hello", "usr/bin/cut": "\x7fELF"} {
		if err := loop.AddBytes(p, 0o755, []byte(contents)); err != nil {
			t.Fatal(err)
		}
	}
	onlyProgram := tree.New()
	if err := onlyProgram.AddSource("usr/bin/xz", 0o755, "/usr/bin/xz"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tree    *tree.Tree
		program string
		says    string
	}{
		{without, "usr/bin/xz", "libraries of /usr/bin/xz: /usr/bin/xz needs liblzma.so.5"},
		{onlyProgram, "usr/bin/xz", "libraries of /usr/bin/xz: its interpreter: /lib64/ld-linux-x86-64.so.2 is not there"},
		{loop, "usr/bin/a", "too many symbolic links"},
		{loop, "usr/bin/c", "libraries of /usr/bin/c: /usr/bin/c leads to /usr/bin/nowhere, which is not there"},
		{loop, "usr/bin", "/usr/bin is no file"},
		{loop, "/usr/bin/script", "it is a script for /bin/sh -e"},
		{loop, "usr/bin/text", "it is no ELF file"},
		{loop, "usr/bin/cut", "cut off"},
		{loop, "usr/bin/none", "/usr/bin/none is not there"},
	} {
		_, err := Closure(c.tree, []string{c.program})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.program, err, c.says)
		}
	}
}

func TestMergeUsrMovesAndRefusesTwins(t *testing.T) {
	tr := tree.New()
	for p, to := range map[string]string{"lib64": "usr/lib64", "usr/lib64/ld.so": "../lib/ld.so"} {
		if err := tr.AddSymlink(p, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"lib/ld.so", "sbin/init", "bin/x", "library/x", "usr/sbin/y"} {
		if err := tr.AddBytes(p, 0o755, nil); err != nil {
			t.Fatal(err)
		}
	}
	got, err := MergeUsr(tr)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"library/x", "usr/bin/x", "usr/lib/ld.so", "usr/sbin/init", "usr/sbin/y"}
	if diff := cmp.Diff(want, regular(got)); diff != "" {
		t.Error(diff)
	}
	if real, _ := got.Resolve("lib64/ld.so"); real != "usr/lib/ld.so" {
		t.Errorf("lib64/ld.so leads to %q", real)
	}
	if err := tr.AddBytes("usr/sbin/init", 0o755, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := MergeUsr(tr); err == nil || !strings.Contains(err.Error(), "usr/sbin/init is there twice") {
		t.Errorf("twins: got %v", err)
	}
}

func TestDynamicSectionAgreesWithReadelf(t *testing.T) {
	names, err := filepath.Glob("/usr/sbin/*")
	if err != nil || len(names) == 0 {
		t.Fatal("no programs on this host", err)
	}
	needed := regexp.MustCompile(`\(NEEDED\).*\[(.*)\]`)
	compared := 0
	for _, name := range names[:min(len(names), 60)] {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			continue
		}
		o, err := readObject(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out, err := exec.Command("readelf", "-d", name).Output()
		if err != nil {
			t.Fatalf("readelf (package binutils): %v", err)
		}
		var want []string
		for _, m := range needed.FindAllStringSubmatch(string(out), -1) {
			want = append(want, m[1])
		}
		if !slices.Equal(o.needed, want) {
			t.Errorf("%s: got %v, readelf %v", name, o.needed, want)
		}
		compared++
	}
	if compared == 0 {
		t.Error("no ELF program was compared")
	}
}

func FuzzReadObject(f *testing.F) {
	b, err := os.ReadFile("/usr/bin/xz")
	if err != nil {
		f.Fatalf("xz-utils is needed: %v", err)
	}
	f.Add(b[:4096])
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readObject(bytes.NewReader(b))
		if (o == nil) == (err == nil) {
			t.Errorf("got %v and %v", o, err)
		}
		if _, isELF, err := Architecture(bytes.NewReader(b)); err != nil && !isELF {
			t.Errorf("an error about a file that is no ELF file: %v", err)
		}
	})
}
