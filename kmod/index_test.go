package kmod_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/skerry-os/skerry/kmod"
	"github.com/skerry-os/skerry/kmod/kmodtest"
)

const release = "6.12.1-test"

// graph has a diamond (top needs left and right, which need base), names with
// '-', several owners of an alias and soft dependencies by name and by alias.
var graph = []kmodtest.Module{
	{Path: "kernel/a/base.ko", Info: []string{"alias=crypto-base"}},
	{Path: "kernel/b/left.ko", Depends: []string{"base"}},
	{Path: "kernel/b/right-hand.ko", Depends: []string{"base"}},
	{Path: "kernel/top.ko", Depends: []string{"left", "right-hand"}, Info: []string{
		"alias=pci:v00008086d0000100Esv*sd*bc*sc*i*", "alias=fs-top", "softdep=pre: helper-one crypto-sum gone post: after",
	}},
	{Path: "kernel/helper-one.ko", Depends: []string{"base"}},
	{Path: "kernel/sum_fast.ko", Info: []string{"alias=crypto-sum"}},
	{Path: "kernel/sum_generic.ko", Info: []string{"alias=crypto-sum"}},
	{Path: "kernel/after.ko", Depends: []string{"base"}},
	{Path: "kernel/net.ko", Info: []string{
		"alias=of:N*T*Cvendor,net-one", "alias=of:N*T*Cvendor,net-oneC*", "alias=mdio:0000000100??0110", "alias=usb:v13FDp3940d0[0-2]*dc*",
		"alias=acpi*:PNP0C0A:*", "alias=net-pf-16", "alias=soc card net", "alias=x*y", "alias=platform:a_b-c",
	}},
	{Path: "kernel/wide.ko", Info: []string{"alias=pci:v*d*sv*sd*bc02sc00i*"}},
}

// depmod makes the graph below a folder and lets depmod write its indexes.
func depmod(t *testing.T) (base, dir string) {
	t.Helper()
	base = t.TempDir()
	dir = filepath.Join(base, "lib/modules", release)
	kmodtest.Write(t, dir, graph)
	if err := os.WriteFile(filepath.Join(dir, "modules.builtin"), []byte("kernel/fs/in-side.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("depmod", "-b", base, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod (package kmod): %v\n%s", err, out)
	}
	return base, dir
}

func files(t *testing.T, dir string) []kmod.File {
	t.Helper()
	var list []kmod.File
	for _, m := range graph {
		f, err := os.Open(filepath.Join(dir, m.Path))
		if err != nil {
			t.Fatal(err)
		}
		info, err := kmod.ReadInfo(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, kmod.File{Path: m.Path, Info: info})
	}
	return list
}

func TestIndexFilesAreThoseOfDepmod(t *testing.T) {
	_, dir := depmod(t)
	list := files(t, dir)
	dep, err := kmod.Dep(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"modules.dep":     dep,
		"modules.alias":   kmod.Alias(list),
		"modules.softdep": kmod.Softdeps(list),
	} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs from depmod's:\n%s", name, diff)
		}
	}
}

func TestDepRefusesImpossibleSets(t *testing.T) {
	file := func(path string, depends ...string) kmod.File {
		return kmod.File{Path: path, Info: kmod.Info{Depends: depends}}
	}
	for want, list := range map[string][]kmod.File{
		"depends on module gone":   {file("kernel/a.ko", "gone")},
		"circle":                   {file("kernel/a.ko", "b"), file("kernel/b.ko", "c"), file("kernel/c.ko", "b")},
		"kernel/x/a-b.ko are both": {file("kernel/a_b.ko"), file("kernel/x/a-b.ko")},
		"is no module":             {file("kernel/a.txt")},
	} {
		if _, err := kmod.Dep(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one about %q", err, want)
		}
	}
}

func TestAliasesMatchAsModprobeMatchesThem(t *testing.T) {
	base, dir := depmod(t)
	index, err := kmod.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{
		"pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
		"pci:v00008086d0000100Fsv00001AF4sd00001100bc03sc00i00",
		"of:NethernetT(null)Cvendor,net-one",
		"of:NethernetT(null)Cvendor,net-oneCvendor,net",
		"of:NethernetT(null)Cother,xCvendor,net-one",
		"of:NethernetT(null)Cvendor,net-one2",
		"mdio:0000000100110110", "mdio:0000000100110111", "mdio:000000010011011",
		"usb:v13FDp3940d0209dc00", "usb:v13FDp3940d0309dc00",
		"acpi:PNP0C0A:", "acpi:XYZ:PNP0C0A:ABC:", "acpi:PNP0C0B:",
		"net-pf-16", "net_pf_16", "net-pf-1", "soc card net",
		"xy", "x1-y", "xz", "platform:a-b_c", "fs-top", "fs_top", "crypto-sum", "nothing",
	} {
		got, err := index.Aliased(alias)
		if err != nil {
			t.Fatal(err)
		}
		// modprobe -R prints nothing and fails when nothing matches.
		out, _ := exec.Command("modprobe", "-R", "-d", base, "-S", release, "--", alias).Output()
		want := strings.Fields(string(out))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, modprobe says %v", alias, got, want)
		}
	}
}

func TestResolveLoadsWhatModprobeLoads(t *testing.T) {
	base, dir := depmod(t)
	index, err := kmod.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"top", "base", "right-hand", "right_hand", "fs-top", "crypto-sum"} {
		modules, err := index.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range modules {
			got = append(got, m.Path)
		}
		out, err := exec.Command("modprobe", "--show-depends", "-d", base, "-S", release, name).Output()
		if err != nil {
			t.Fatalf("modprobe --show-depends %s: %v", name, err)
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			path := strings.TrimPrefix(strings.Fields(line)[1], dir+"/")
			if !slices.Contains(want, path) {
				want = append(want, path)
			}
		}
		if name == "crypto-sum" {
			// Several modules of one alias: modprobe walks its trie, Resolve
			// keeps the order of modules.alias.
			slices.Sort(want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: modprobe loads other modules:\n%s", name, diff)
		}
	}
}

func TestResolveMarksSoftDependencies(t *testing.T) {
	index, err := kmod.NewIndex(kmod.Texts{
		Dep:     "kernel/a.ko: kernel/c.ko\nkernel/b.ko: kernel/c.ko\nkernel/c.ko:\nkernel/d.ko:\n",
		Softdep: "softdep a pre: b post: d\nsoftdep d pre: a\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := index.Resolve("a")
	if err != nil {
		t.Fatal(err)
	}
	want := []kmod.Module{
		{Name: "c", Path: "kernel/c.ko"},
		{Name: "b", Path: "kernel/b.ko", Soft: true},
		{Name: "a", Path: "kernel/a.ko"},
		{Name: "d", Path: "kernel/d.ko", Soft: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestResolveTellsBuiltInFromUnknown(t *testing.T) {
	_, dir := depmod(t)
	index, err := kmod.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"in-side", "in_side"} {
		if modules, err := index.Resolve(name); err != nil || len(modules) != 0 || !index.Builtin(name) {
			t.Errorf("%s: got %v, %v, want it to be built in", name, modules, err)
		}
	}
	if _, err := index.Resolve("gone"); !errors.Is(err, kmod.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
	if _, err := index.Resolve(""); !errors.Is(err, kmod.ErrNotFound) {
		t.Errorf("error is %v for an empty name, want ErrNotFound", err)
	}
}

func TestNamesPrefersAModuleToAnAlias(t *testing.T) {
	index, err := kmod.NewIndex(kmod.Texts{
		Dep:     "kernel/sum-fast.ko:\nkernel/sum.ko:\n",
		Alias:   "alias sum sum_fast\nalias crypto-sum sum_fast\nalias crypto-sum sum\n",
		Builtin: "kernel/inner.ko\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"sum": {"sum"}, "sum-fast": {"sum_fast"}, "crypto-sum": {"sum_fast", "sum"}, "inner": nil} {
		got, err := index.Names(name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := index.Names("gone"); !errors.Is(err, kmod.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
}

func TestLoadNeedsModulesDepOnly(t *testing.T) {
	index, err := kmod.Load(fstest.MapFS{"modules.dep": {Data: []byte("kernel/a.ko:\n")}})
	if err != nil || index.Len() != 1 {
		t.Fatalf("got %v, %v", index, err)
	}
	if _, err := kmod.Load(fstest.MapFS{}); err == nil {
		t.Error("a folder without modules.dep was accepted")
	}
}

func TestIndexNamesFileAndLineOfADamagedIndex(t *testing.T) {
	for want, texts := range map[string]kmod.Texts{
		"modules.dep: line 2":     {Dep: "kernel/a.ko:\nkernel/b.ko\n"},
		"a second module a_b":     {Dep: "kernel/a-b.ko:\nkernel/a_b.ko:\n"},
		"modules.softdep: line 1": {Softdep: "softdep a\n"},
		"modules.builtin: line 1": {Builtin: "x\n"},
		"modules.alias: line 3":   {Dep: "kernel/a.ko:\n", Alias: "# x\nalias b a\nalias c\n"},
		"gone.ko, which is not":   {Dep: "kernel/x.ko: kernel/gone.ko\n"},
	} {
		index, err := kmod.NewIndex(texts)
		if err == nil {
			_, err = index.Resolve("x")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one about %q", err, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n", "alias x*[a-z]?y a\nalias fs-b b\n", "softdep a pre: b post: fs-b\n", "kernel/c.ko\n", "fs-b")
	f.Add("kernel/a.ko:\n", "alias [[[*\\ a\n", "softdep a pre: a post: a\n", "", "[[[x")
	f.Fuzz(func(t *testing.T, dep, alias, softdep, builtin, name string) {
		index, err := kmod.NewIndex(kmod.Texts{Dep: dep, Alias: alias, Softdep: softdep, Builtin: builtin})
		if err != nil {
			return
		}
		modules, err := index.Resolve(name)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, m := range modules {
			if seen[m.Name] {
				t.Errorf("%s is loaded twice", m.Name)
			}
			seen[m.Name] = true
		}
	})
}

// BenchmarkColdplug asks what a board's start asks: a hundred devices against
// twenty thousand patterns, most of which begin alike.
func BenchmarkColdplug(b *testing.B) {
	var dep, alias strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&dep, "kernel/m%d.ko:\n", i)
		for j := range 5 {
			fmt.Fprintf(&alias, "alias of:N*T*Cvendor%d,chip%d-net m%d\n", j, i, i)
			fmt.Fprintf(&alias, "alias of:N*T*Cvendor%d,chip%d-netC* m%d\n", j, i, i)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		index, err := kmod.NewIndex(kmod.Texts{Dep: dep.String(), Alias: alias.String()})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 100 {
			if _, err := index.Resolve(fmt.Sprintf("of:NnetT(null)Cvendor1,chip%d-netCother,net", i*20)); err != nil {
				b.Fatal(err)
			}
		}
	}
}
