package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const pause = "../../images/pause"

// compiled compiles a program.
func compiled(t *testing.T, source string, flags ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", name}, flags, []string{source})...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return name
}

func TestPackagesTakeNoMoreThanTheirSections(t *testing.T) {
	name := compiled(t, pause)
	w, err := weigh(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	var sections, packages, modules int64
	for _, n := range w.sections {
		sections += n
	}
	for _, n := range w.packages {
		packages += n
	}
	for _, n := range w.modules {
		modules += n
	}
	if packages == 0 || packages != modules || packages > sections || sections > info.Size() {
		t.Errorf("packages %d, modules %d, sections %d, file %d", packages, modules, sections, info.Size())
	}
	if w.packages["runtime"] < w.sections[".text"]/4 || w.packages["runtime"] != w.packages[heaviest(w.packages, 1)[0]] {
		t.Errorf("the runtime takes %d of %d", w.packages["runtime"], w.sections[".text"])
	}
	var out bytes.Buffer
	if err := run(&out, name); err != nil || !regexp.MustCompile("(?m)^\\| `runtime` \\| [0-9]{1,3}(,[0-9]{3})+ \\|$").MatchString(out.String()) {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestMemoryThatIsZeroTakesNothing(t *testing.T) {
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nvar big [64 << 20]byte\n\nfunc main() { big[len(big)-1]++ }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := weigh(compiled(t, source))
	if err != nil {
		t.Fatal(err)
	}
	if main := w.packages["main"]; main == 0 || main > 1<<20 {
		t.Errorf("main takes %d bytes", main)
	}
	if _, ok := w.sections[".noptrbss"]; ok {
		t.Errorf("got %v", w.sections)
	}
}

func TestAProgramWithoutSymbolsIsRefused(t *testing.T) {
	if _, err := weigh(compiled(t, pause, "-ldflags=-s")); err == nil || !strings.Contains(err.Error(), "without -ldflags=-s") {
		t.Errorf("got %v", err)
	}
	if _, err := weigh("main.go"); err == nil {
		t.Error("a text was weighed")
	}
}

func TestSymbolsBelongToPackages(t *testing.T) {
	for symbol, want := range map[string]string{
		"main.main":                               "main",
		"runtime.(*mheap).alloc":                  "runtime",
		"net/http.init.0.func1":                   "net/http",
		"k8s.io/api/core/v1.(*PodSpec).Unmarshal": "k8s.io/api/core/v1",
		"gopkg.in/yaml%2ev3.Marshal":              "gopkg.in/yaml.v3",
		"slices.SortFunc[go.shape.[]k8s.io/api/core/v1.Pod,go.shape.struct { a }]": "slices",
		"k8s.io/client-go/gentype.(*Client[go.shape.*k8s.io/api/core/v1.Pod]).Get": "k8s.io/client-go/gentype",
		"go:itab.*os.File,io.Reader":      "os",
		"type:.eq.github.com/miekg/dns.A": "github.com/miekg/dns",
		"type:*[]net/netip.Addr":          "net/netip",
		"go:func.*":                       "",
		"go:string.*":                     "",
		"_cgo_init":                       "",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("%s: got %q, want %q", symbol, got, want)
		}
	}
}

func TestAPackageBelongsToItsInnermostModule(t *testing.T) {
	modules := []string{"k8s.io/api", "go.etcd.io/etcd", "go.etcd.io/etcd/server/v3"}
	for of, want := range map[string]string{
		"k8s.io/api":                  "k8s.io/api",
		"k8s.io/apiserver/pkg/server": standard,
		"go.etcd.io/etcd/server/v3/x": "go.etcd.io/etcd/server/v3",
		"net/http":                    standard,
	} {
		if got := moduleOf(of, modules); got != want {
			t.Errorf("%s: got %s, want %s", of, got, want)
		}
	}
}
