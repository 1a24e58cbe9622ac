package slot

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/loaderconf"
)

// node is a UEFI node with slot A running version 1.0.0 by default and 1.1.0 in B.
func node(t *testing.T) UEFI {
	t.Helper()
	boot, vars := t.TempDir(), t.TempDir()
	conf, err := loaderconf.New("skerry-1.0.0.efi", "timeout 0")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(boot, "loader/loader.conf"), conf)
	write(t, filepath.Join(boot, "EFI/Linux/skerry-1.0.0.efi"), []byte("MZ"))
	write(t, filepath.Join(boot, "EFI/Linux/skerry-1.1.0.efi"), []byte("MZ"))
	u := UEFI{Boot: os.DirFS(boot), Variables: Variables(vars), Running: Slot{A, "1.0.0"}}
	u.OpenLoaderConf = func() (LoaderConf, error) { return OpenInPlace(filepath.Join(boot, loaderConfName)) }
	u.set(t, entrySelected, "skerry-1.0.0.efi")
	return u
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// spoilLoaderConf makes the file shorter than it was made, as an editor would.
func spoilLoaderConf(t *testing.T, u UEFI) {
	t.Helper()
	f, err := u.OpenLoaderConf()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.(inPlace).Truncate(10); err != nil {
		t.Fatal(err)
	}
}

func (u UEFI) set(t *testing.T, name, value string) {
	t.Helper()
	write(t, u.Variables.path(name), encodeText(value))
}

func TestDefaultSlotIsTheRunningOneOrTheOther(t *testing.T) {
	u := node(t)
	if got, err := u.Default(); err != nil || got != (Slot{A, "1.0.0"}) {
		t.Errorf("got %v, %v", got, err)
	}
	u.Running = Slot{B, "1.1.0"}
	if got, err := u.Default(); err != nil || got != (Slot{A, "1.0.0"}) {
		t.Errorf("with B running: got %v, %v", got, err)
	}
}

func TestBootOfAnotherThanTheDefaultIsATrial(t *testing.T) {
	u := node(t)
	if got, trial, err := u.Booted(); err != nil || trial || got != u.Running {
		t.Errorf("usual boot: %v, %v, %v", got, trial, err)
	}
	u.set(t, entrySelected, "skerry-1.1.0.efi")
	if _, _, err := u.Booted(); err == nil {
		t.Error("the boot loader started 1.1.0 but 1.0.0 runs: no error")
	}
	u.Running = Slot{B, "1.1.0"}
	if got, trial, err := u.Booted(); err != nil || !trial || got != u.Running {
		t.Errorf("trial: %v, %v, %v", got, trial, err)
	}
	if err := os.Remove(u.Variables.path(entrySelected)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.Booted(); err == nil {
		t.Error("unknown boot entry: no error")
	}
}

func TestTryArmsTheOneShotVariable(t *testing.T) {
	u := node(t)
	if err := u.Try(Slot{B, "1.1.0"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(u.Variables.path(entryOneShot))
	// As seen to work with systemd-boot 257: attributes 7, UTF-16, ends in NUL.
	want := []byte("\x07\x00\x00\x00s\x00k\x00e\x00r\x00r\x00y\x00-\x001\x00.\x001\x00.\x000\x00.\x00e\x00f\x00i\x00\x00\x00")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("variable is %q, %v", got, err)
	}
	if got, err := u.Default(); err != nil || got != u.Running {
		t.Errorf("a trial changed the default to %v, %v", got, err)
	}
}

func TestTryRefusesWhatCouldNotBoot(t *testing.T) {
	for what, c := range map[string]struct {
		slot  Slot
		spoil func(UEFI)
	}{
		"kernel image missing":               {Slot{B, "1.2.0"}, func(UEFI) {}},
		"version that runs, in B":            {Slot{B, "1.0.0"}, func(UEFI) {}},
		"new version, in the slot that runs": {Slot{A, "1.1.0"}, func(UEFI) {}},
		"loader.conf edited":                 {Slot{B, "1.1.0"}, func(u UEFI) { spoilLoaderConf(t, u) }},
		"no place for variables":             {Slot{B, "1.1.0"}, func(u UEFI) { os.RemoveAll(string(u.Variables)) }},
	} {
		u := node(t)
		c.spoil(u)
		if err := u.Try(c.slot); err == nil {
			t.Errorf("%s: no error", what)
		}
		if _, err := os.Stat(u.Variables.path(entryOneShot)); err == nil {
			t.Errorf("%s: the variable was armed", what)
		}
	}
}

func TestCommitMakesTheTrialTheDefault(t *testing.T) {
	u := node(t)
	u.Running = Slot{B, "1.1.0"}
	u.set(t, entrySelected, "SKERRY-1.1.0.EFI")
	if _, trial, err := u.Booted(); err != nil || !trial {
		t.Fatalf("trial %v, %v", trial, err)
	}
	if err := u.Commit(u.Running); err != nil {
		t.Fatal(err)
	}
	if got, err := u.Default(); err != nil || got != u.Running {
		t.Errorf("default is %v, %v", got, err)
	}
	if _, trial, err := u.Booted(); err != nil || trial {
		t.Errorf("still a trial: %v, %v", trial, err)
	}
	if info, err := fs.Stat(u.Boot, loaderConfName); err != nil || info.Size() != loaderconf.Size {
		t.Errorf("loader.conf changed its size: %v", err)
	}
}

func TestCommitNoticesAnOverridingVariable(t *testing.T) {
	u := node(t)
	u.set(t, entryDefault, "skerry-1.0.0.efi")
	if err := u.Commit(Slot{B, "1.1.0"}); err == nil || !strings.Contains(err.Error(), entryDefault) {
		t.Errorf("got %v", err)
	}
}

func TestForeignBootEntryIsAnError(t *testing.T) {
	u := node(t)
	for _, entry := range []string{"windows.conf", "skerry-.efi", "skerry-1.0.0.conf", "auto-reboot"} {
		u.set(t, entryDefault, entry)
		if got, err := u.Default(); err == nil {
			t.Errorf("%s: %v", entry, got)
		}
	}
}

func TestBootPartUUIDMayBeUnknown(t *testing.T) {
	u := node(t)
	if got, err := u.Variables.BootPartUUID(); err != nil || got != "" {
		t.Errorf("got %q, %v", got, err)
	}
	u.set(t, "LoaderDevicePartUUID", "AABB-CC")
	if got, err := u.Variables.BootPartUUID(); err != nil || got != "aabb-cc" {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzDecodeText(f *testing.F) {
	f.Add(encodeText("skerry-1.efi"))
	f.Fuzz(func(t *testing.T, b []byte) { decodeText("x", b) })
}
