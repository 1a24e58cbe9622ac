package modules

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// machine is a system in a temporary folder whose kernel remembers what it was
// asked for. Module files hold their own name.
type machine struct {
	System

	mu      sync.Mutex
	loaded  []string // "name" or "name params"
	removed []string
	fail    map[string]error                 // what loading a module returns
	effect  map[string]func()                // what else it does
	during  func(name string, params string) // called while a module is loaded
}

func newMachine(t *testing.T, cmdline string) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{fail: map[string]error{}, effect: map[string]func(){}}
	m.System = System{
		Modules: filepath.Join(root, "lib/modules/6.12.1-test"),
		Sys:     filepath.Join(root, "sys"),
		Proc:    filepath.Join(root, "proc"),
		Init:    m.init,
		Delete:  m.delete,
	}
	write(t, filepath.Join(m.Proc, "cmdline"), cmdline+"\n")
	write(t, filepath.Join(m.Modules, "modules.dep"), strings.Join([]string{
		"kernel/core.ko:",
		"kernel/bus.ko: kernel/core.ko",
		"kernel/net-card.ko: kernel/mii.ko kernel/core.ko",
		"kernel/mii.ko:",
		"kernel/disk.ko: kernel/bus.ko kernel/core.ko",
		"kernel/hash.ko:",
		"kernel/verity.ko:",
		"",
	}, "\n"))
	write(t, filepath.Join(m.Modules, "modules.alias"), strings.Join([]string{
		"# comment",
		"alias pci:v00001234d* bus",
		"alias bus:disk* disk",
		"alias usb:vABCDp* net-card",
		"alias crypto-hash hash",
		"alias pci:v00009999d* hash",
		"alias pci:v00009999d* mii",
		"",
	}, "\n"))
	write(t, filepath.Join(m.Modules, "modules.softdep"), "softdep verity pre: crypto-hash\n")
	write(t, filepath.Join(m.Modules, "modules.builtin"), "kernel/fs/inner-fs.ko\n")
	for _, name := range []string{"core", "bus", "net-card", "mii", "disk", "hash", "verity"} {
		write(t, filepath.Join(m.Modules, "kernel", name+".ko"), strings.ReplaceAll(name, "-", "_"))
	}
	if err := os.MkdirAll(filepath.Join(m.Sys, "bus"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) loader(t *testing.T, options map[string]string) *Loader {
	t.Helper()
	l, err := NewLoader(m.System, options, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (m *machine) init(fd int, params string, flags int) error {
	buffer := make([]byte, 100)
	n, err := syscall.Pread(fd, buffer, 0)
	if err != nil {
		return err
	}
	name := string(buffer[:n])
	if m.during != nil {
		m.during(name, params)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail[name]; err != nil {
		return err
	}
	m.loaded = append(m.loaded, strings.TrimSpace(name+" "+params))
	if effect := m.effect[name]; effect != nil {
		effect()
	}
	return nil
}

func (m *machine) delete(name string, flags int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail["remove "+name]; err != nil {
		return err
	}
	m.removed = append(m.removed, name)
	return nil
}

// device puts a device on a bus.
func (m *machine) device(t *testing.T, bus, name, modalias string) {
	t.Helper()
	write(t, filepath.Join(m.Sys, "bus", bus, "devices", name, "modalias"), modalias+"\n")
}

func (m *machine) wantLoaded(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.loaded, want) {
		t.Errorf("the kernel was given %q, want %q", m.loaded, want)
	}
}

func write(t *testing.T, file, contents string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}
