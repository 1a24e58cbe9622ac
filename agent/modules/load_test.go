package modules

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/skerry-os/skerry/kmod"
	"golang.org/x/sys/unix"
)

func TestLoadBringsDependenciesFirstAndOnce(t *testing.T) {
	m := newMachine(t, "")
	l := m.loader(t, nil)
	for _, name := range []string{"disk", "disk", "net_card", "bus:disk0"} {
		if err := l.Load(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	m.wantLoaded(t, "core", "bus", "disk", "mii", "net_card")
}

func TestLoadOfABuiltInModuleIsNoError(t *testing.T) {
	m := newMachine(t, "")
	if err := m.loader(t, nil).Load(context.Background(), "inner-fs"); err != nil {
		t.Error(err)
	}
	m.wantLoaded(t)
}

func TestLoadOfAnUnknownModuleIsErrNotFound(t *testing.T) {
	m := newMachine(t, "")
	if err := m.loader(t, nil).Load(context.Background(), "gone"); !errors.Is(err, kmod.ErrNotFound) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("error is %v", err)
	}
}

func TestLoadedElsewhereIsSuccess(t *testing.T) {
	m := newMachine(t, "")
	m.fail["core"] = unix.EEXIST
	write(t, filepath.Join(m.Sys, "module/bus/initstate"), "live\n")
	write(t, filepath.Join(m.Sys, "module/mii/initstate"), "coming\n")
	l := m.loader(t, nil)
	for _, name := range []string{"disk", "mii"} {
		if err := l.Load(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	m.wantLoaded(t, "disk", "mii")
}

func TestErrorNamesModuleAndFileAndIsTriedAgain(t *testing.T) {
	m := newMachine(t, "bus.speed=3")
	m.fail["bus"] = unix.ENOEXEC
	l := m.loader(t, nil)
	err := l.Load(context.Background(), "disk")
	want := `load module bus from ` + m.Modules + `/kernel/bus.ko with "speed=3": ` + unix.ENOEXEC.Error() + `: the file is no module for this kernel`
	if !errors.Is(err, unix.ENOEXEC) || err.Error() != want {
		t.Errorf("error is %v\nwant %s", err, want)
	}
	m.wantLoaded(t, "core")
	delete(m.fail, "bus")
	if err := l.Load(context.Background(), "disk"); err != nil {
		t.Fatal(err)
	}
	m.wantLoaded(t, "core", "bus speed=3", "disk")
}

func TestMissingFileIsNamed(t *testing.T) {
	m := newMachine(t, "")
	if err := os.Remove(filepath.Join(m.Modules, "kernel/core.ko")); err != nil {
		t.Fatal(err)
	}
	err := m.loader(t, nil).Load(context.Background(), "core")
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "kernel/core.ko") {
		t.Errorf("error is %v", err)
	}
}

func TestSoftDependencyMayFail(t *testing.T) {
	m := newMachine(t, "")
	m.fail["hash"] = unix.ENODEV
	if err := m.loader(t, nil).Load(context.Background(), "verity"); err != nil {
		t.Fatal(err)
	}
	m.wantLoaded(t, "verity")
}

func TestOneOfSeveralModulesOfAnAliasIsEnough(t *testing.T) {
	m := newMachine(t, "")
	m.fail["hash"] = unix.ENODEV
	l := m.loader(t, nil)
	if err := l.Load(context.Background(), "pci:v00009999d1"); err != nil {
		t.Error(err)
	}
	m.wantLoaded(t, "mii")

	m = newMachine(t, "")
	m.fail["hash"], m.fail["mii"] = unix.ENODEV, unix.EINVAL
	err := m.loader(t, nil).Load(context.Background(), "pci:v00009999d1")
	if !errors.Is(err, unix.ENODEV) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("error is %v, want both", err)
	}
}

func TestTwoWhoNeedTheSameDependencyWaitForOneLoad(t *testing.T) {
	m := newMachine(t, "")
	l := m.loader(t, nil)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var entered atomic.Int32
		m.during = func(name, _ string) {
			if name == "core" {
				entered.Add(1)
				<-release
			}
		}
		var group sync.WaitGroup
		for _, name := range []string{"disk", "net-card", "bus", "core"} {
			group.Go(func() {
				if err := l.Load(t.Context(), name); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := entered.Load(); n != 1 {
			t.Errorf("core is loaded by %d at once", n)
		}
		close(release)
		group.Wait()
	})
	slices.Sort(m.loaded)
	m.wantLoaded(t, "bus", "core", "disk", "mii", "net_card")
}

func TestWaitingForAnothersLoadEndsWithTheContext(t *testing.T) {
	m := newMachine(t, "")
	l := m.loader(t, nil)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m.during = func(string, string) { <-release }
		var group sync.WaitGroup
		group.Go(func() { l.Load(t.Context(), "core") })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Load(ctx, "core"); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		close(release)
		group.Wait()
	})
}

func TestParametersComeFromOptionsAndThenTheCommandLine(t *testing.T) {
	m := newMachine(t, `quiet core.a=1 net-card.mode="x y" core.b net_card.n=2 console=ttyS0 -- core.c=3`)
	l := m.loader(t, map[string]string{"core": "a=0", "mii": "z=1", "bus": ""})
	for _, name := range []string{"bus", "net-card"} {
		if err := l.Load(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
	m.wantLoaded(t, "core a=0 a=1 b", "bus", "mii z=1", `net_card mode="x y" n=2`)
}

func TestCommandLineIsSplitAsTheKernelSplitsIt(t *testing.T) {
	s := commandLine(`  a.x=1 a.y="1 2"  "b.z=3 4" .n=1 m.=1 modprobe.blacklist=no-net,snd c=d.e=f`+"\n", nil)
	want := map[string]string{"a": `x=1 y="1 2"`, "b": `z=3 4"`}
	if diff := cmp.Diff(want, s.params); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"no_net": true, "snd": true}, s.blacklist); diff != "" {
		t.Error(diff)
	}
}

func TestDevicesDoNotGetBlacklistedModules(t *testing.T) {
	m := newMachine(t, "modprobe.blacklist=hash,net-card")
	l := m.loader(t, nil)
	for _, modalias := range []string{"pci:v00009999d0001", "usb:vABCDp0001", "pci:v7777"} {
		if err := l.LoadFor(context.Background(), modalias); err != nil {
			t.Error(err)
		}
	}
	m.wantLoaded(t, "mii")
	if err := l.Load(context.Background(), "hash"); err != nil {
		t.Error(err)
	}
	m.wantLoaded(t, "mii", "hash")
}

func TestAModuleThatDoesNotWantItsDeviceIsNoError(t *testing.T) {
	m := newMachine(t, "")
	m.fail["hash"] = unix.ENODEV
	l := m.loader(t, nil)
	if err := l.LoadFor(context.Background(), "pci:v00009999d1"); err != nil {
		t.Error(err)
	}
	m.wantLoaded(t, "mii")
	m.fail["hash"] = unix.EINVAL
	if err := l.LoadFor(context.Background(), "pci:v00009999d1"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error is %v", err)
	}
}

func TestRemoveTakesUnusedDependenciesAlong(t *testing.T) {
	m := newMachine(t, "")
	l := m.loader(t, nil)
	if err := l.Load(context.Background(), "disk"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.Sys, "module/bus/refcnt"), "0\n")
	write(t, filepath.Join(m.Sys, "module/core/refcnt"), "1\n")
	if err := l.Remove("disk"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"disk", "bus"}; !slices.Equal(m.removed, want) {
		t.Errorf("removed %v, want %v", m.removed, want)
	}
	if err := l.Load(context.Background(), "disk"); err != nil {
		t.Fatal(err)
	}
	m.wantLoaded(t, "core", "bus", "disk", "bus", "disk")

	m.fail["remove disk"] = unix.EWOULDBLOCK
	if err := l.Remove("disk"); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("error is %v", err)
	}
	if err := l.Remove("inner_fs"); err == nil {
		t.Error("a built-in module was removed")
	}
}
