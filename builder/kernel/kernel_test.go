package kernel

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/skerry-os/skerry/kmod"
	"github.com/skerry-os/skerry/kmod/kmodtest"
)

const release = "6.12.1-test"

// unpacked makes a folder as dpkg-deb leaves it.
func unpacked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	modules := filepath.Join(dir, "usr/lib/modules", release)
	list := []kmodtest.Module{
		{Path: "kernel/arch/x86/crypto/sha256-fast.ko", Info: []string{"alias=crypto-sha256"}},
		{Path: "kernel/fs/erofs/erofs.ko", Depends: []string{"lz4-lib"}, Info: []string{"alias=fs-erofs", "softdep=pre: crypto-sha256"}},
		{Path: "kernel/lib/lz4-lib.ko"},
		{Path: "kernel/drivers/block/virtio_blk.ko", Info: []string{"alias=virtio:d00000002v*", "weakdep=nbd absent"}},
		{Path: "kernel/drivers/block/nbd.ko"},
		{Path: "kernel/drivers/net/ethernet/intel/e1000.ko", Depends: []string{"mii"}, Info: []string{"firmware=intel/b.bin", "firmware=intel/a.bin"}},
		{Path: "kernel/drivers/net/ethernet/big/big.ko", Info: []string{"firmware=big.bin"}},
		{Path: "kernel/drivers/net/mii.ko"},
	}
	for i := range list {
		list[i].Info = append(list[i].Info, "vermagic="+release+" SMP mod_unload ")
	}
	kmodtest.Write(t, modules, list)
	var compress []string
	for _, m := range list[1:] { // one stays as it is
		compress = append(compress, filepath.Join(modules, m.Path))
	}
	if out, err := exec.Command("xz", compress...).CombinedOutput(); err != nil {
		t.Fatalf("xz (package xz-utils): %v\n%s", err, out)
	}
	for name, contents := range map[string]string{
		filepath.Join(dir, "boot/vmlinuz-"+release):        "kernel",
		filepath.Join(dir, "boot/config-"+release):         "CONFIG_X=y\n",
		filepath.Join(modules, "modules.builtin"):          "kernel/fs/ext4/ext-four.ko\nkernel/drivers/inside/inner.ko\n",
		filepath.Join(modules, "modules.builtin.modinfo"):  "inner.firmware=inner.bin\x00inner.license=GPL\x00",
		filepath.Join(dir, "usr/lib/linux-image-"+release): "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if contents == "" {
			err = os.Mkdir(name, 0o755)
		} else {
			err = os.WriteFile(name, []byte(contents), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func extracted(t *testing.T) *Modules {
	t.Helper()
	p, err := Open(unpacked(t))
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Extract(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(s *Selection) []string {
	var list []string
	for _, f := range s.Files {
		list = append(list, kmod.NameOf(f.Path))
	}
	return list
}

func TestOpenFindsThePartsOfAPackage(t *testing.T) {
	dir := unpacked(t)
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{p.Release, p.Image, p.Config, p.DeviceTrees}
	want := []string{
		release, filepath.Join(dir, "boot/vmlinuz-"+release), filepath.Join(dir, "boot/config-"+release),
		filepath.Join(dir, "usr/lib/linux-image-"+release),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty folder was accepted")
	}
}

func TestSelectBringsDependenciesOfEveryKind(t *testing.T) {
	m := extracted(t)
	for _, c := range []struct {
		name  string
		lists [][]string
		want  []string // in the order of modules.order
	}{
		{"hard and soft, by alias", [][]string{{"erofs"}}, []string{"sha256_fast", "erofs", "lz4_lib"}},
		{"weak, one of them absent", [][]string{{"virtio-blk"}}, []string{"virtio_blk", "nbd"}},
		{"name with the other dash", [][]string{{"lz4_lib"}}, []string{"lz4_lib"}},
		{"folder", [][]string{{"drivers/net/ethernet/**"}}, []string{"e1000", "big", "mii"}},
		{"files of one folder", [][]string{{"drivers/net/*"}}, []string{"mii"}},
		{"folder but one", [][]string{{"drivers/net/ethernet/**", "!drivers/net/ethernet/big/**"}}, []string{"e1000", "mii"}},
		{"taken out but needed", [][]string{{"e1000", "mii", "!mii"}}, []string{"e1000", "mii"}},
		{"taken out of one list only", [][]string{{"big"}, {"drivers/net/ethernet/**", "!big"}}, []string{"e1000", "big", "mii"}},
		{"folders between", [][]string{{"drivers/**/e1000"}}, []string{"e1000", "mii"}},
		{"built in", [][]string{{"ext_four", "inner", "drivers/inside/*"}}, nil},
		{"optional", [][]string{{"gone?", "drivers/gone/**?", "!gone?"}}, nil},
	} {
		s, err := m.Select(c.lists...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, names(s)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestSelectReportsEveryEntryThatMatchesNothing(t *testing.T) {
	m := extracted(t)
	_, err := m.Select([]string{"e100", "ext4_four", "drivers/net/ethernet/intell/**", "drivres/net/**", "!zzzzzz", "**", "a[b]"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"e100" matches no module: near names are e1000`,
		"near names are ext_four",
		"there are modules below drivers/net/ethernet",
		"no such folder below kernel/",
		`"!zzzzzz" matches no module: this kernel has none with a similar name`,
		`"**": want a module's name`,
		`"a[b]": want a module's name`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestTreeHasWhatDepmodWouldMakeOfTheShippedModules(t *testing.T) {
	m := extracted(t)
	for _, entries := range [][]string{{"erofs", "e1000", "virtio_blk", "big"}, {"e1000"}, {"inner"}} {
		s, err := m.Select(entries)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := s.Tree()
		if err != nil {
			t.Fatal(err)
		}
		base := t.TempDir()
		if err := tr.WriteTo(base); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("usr/lib", filepath.Join(base, "lib")); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, "usr/lib/modules", release)
		read := func() map[string]string {
			texts := map[string]string{}
			for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep"} {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				texts[name] = string(text)
			}
			return texts
		}
		var order strings.Builder
		for _, f := range s.Files {
			order.WriteString(f.Path + "\n")
		}
		if err := os.WriteFile(filepath.Join(dir, "modules.order"), []byte(order.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		ours := read()
		if out, err := exec.Command("depmod", "-b", base, release).CombinedOutput(); err != nil {
			t.Fatalf("depmod (package kmod): %v\n%s", err, out)
		}
		if diff := cmp.Diff(read(), ours); diff != "" {
			t.Errorf("%v: depmod writes something else:\n%s", entries, diff)
		}
	}
}

func TestTreeIsTheSameTwice(t *testing.T) {
	p, err := Open(unpacked(t))
	if err != nil {
		t.Fatal(err)
	}
	digest := func(cache string) string {
		m, err := p.Extract(context.Background(), cache)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Select([]string{"erofs", "drivers/net/**"})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := s.Tree()
		if err != nil {
			t.Fatal(err)
		}
		d, err := tr.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	cache := t.TempDir()
	first := digest(cache)
	if again := digest(cache); again != first {
		t.Error("a second call with the same cache gives another tree")
	}
	if other := digest(t.TempDir()); other != first {
		t.Error("another cache gives another tree")
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %v, %v, want one folder", entries, err)
	}
}

func TestExtractRefusesModulesOfAnotherKernel(t *testing.T) {
	dir := unpacked(t)
	kmodtest.Write(t, filepath.Join(dir, "usr/lib/modules", release), []kmodtest.Module{
		{Path: "kernel/other.ko", Info: []string{"vermagic=6.1.0 SMP"}},
	})
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if _, err := p.Extract(context.Background(), cache); err == nil || !strings.Contains(err.Error(), `built for kernel "6.1.0"`) {
		t.Errorf("error is %v", err)
	}
	if entries, _ := os.ReadDir(cache); len(entries) != 0 {
		t.Errorf("the failed extraction left %v", entries)
	}
}

func TestExtractSaysWhichFileXzRefused(t *testing.T) {
	dir := unpacked(t)
	damaged := filepath.Join(dir, "usr/lib/modules", release, "kernel/drivers/net/mii.ko.xz")
	if err := os.Truncate(damaged, 100); err != nil {
		t.Fatal(err)
	}
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Extract(context.Background(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "mii.ko.xz") {
		t.Errorf("error is %v", err)
	}
}

func TestExtractEndsWithItsContext(t *testing.T) {
	p, err := Open(unpacked(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Extract(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestFirmwareIsThatOfTheSelectionAndOfBuiltInDrivers(t *testing.T) {
	s, err := extracted(t).Select([]string{"e1000"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"inner.bin", "intel/a.bin", "intel/b.bin"}, s.Firmware()); diff != "" {
		t.Error(diff)
	}
}

// The cache is pruned by it.
func TestExtractMarksWhatItFindsAsUsed(t *testing.T) {
	p, err := Open(unpacked(t))
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	for range 2 {
		if _, err := p.Extract(context.Background(), cache); err != nil {
			t.Fatal(err)
		}
		dirs, err := filepath.Glob(filepath.Join(cache, "modules-*"))
		if err != nil || len(dirs) != 1 {
			t.Fatalf("%v, %v", dirs, err)
		}
		info, err := os.Stat(dirs[0])
		if err != nil || time.Since(info.ModTime()) > time.Hour {
			t.Errorf("%v, %v", info.ModTime(), err)
		}
		if err := os.Chtimes(dirs[0], time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}
