package modules

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestModprobe(t *testing.T) {
	for _, c := range []struct {
		args    string
		status  int
		loaded  []string
		removed []string
		stdout  string // MODULES stands for the folder
		stderr  string // a part of it; empty means nothing at all
	}{
		{args: "-q -- crypto-hash", loaded: []string{"hash"}}, // the kernel's own call
		{args: "-q -- net-pf-99", status: 1},
		{args: "net-pf-99", status: 1, stderr: "load module net-pf-99: no such module"},
		{args: "-q inner-fs"},
		{args: "disk", loaded: []string{"core", "bus", "disk p=1"}},
		{args: "disk q=2 r", loaded: []string{"core", "bus", "disk p=1 q=2 r"}},
		{args: "verity v=1", loaded: []string{"hash", "verity v=1"}},
		{args: "-a mii core", loaded: []string{"mii", "core"}},
		{args: "-qa mii gone core", status: 1, loaded: []string{"mii", "core"}},
		{args: "-v disk", loaded: []string{"core", "bus", "disk p=1"}, stdout: "insmod MODULES/kernel/core.ko\ninsmod MODULES/kernel/bus.ko\ninsmod MODULES/kernel/disk.ko p=1\n"},
		{args: "-nv mii x=1", stdout: "insmod MODULES/kernel/mii.ko x=1\n"},
		{args: "--dry-run --verbose mii", stdout: "insmod MODULES/kernel/mii.ko\n"},
		{args: "-b hash"},
		{args: "-b crypto-hash"},
		{args: "hash", loaded: []string{"hash"}},
		{args: "-r mii", removed: []string{"mii"}},
		{args: "-rv mii", removed: []string{"mii"}, stdout: "rmmod mii\n"},
		{args: "-r gone", status: 1, stderr: "gone: no such module"},
		{args: "-- -q", status: 1, stderr: "-q: no such module"},
		{args: "", status: 2, stderr: "no module named"},
		{args: "-q", status: 2, stderr: "no module named"},
		{args: "-f mii", status: 2, stderr: "unknown option -f"},
		{args: "-qf mii", status: 2, stderr: "unknown option -f"},
		{args: "--show-depends mii", status: 2, stderr: "unknown option --show-depends"},
		{args: "--q mii", status: 2, stderr: "unknown option --q"},
		{args: "-S 6.1 mii", status: 2, stderr: "unknown option -S"},
	} {
		t.Run(c.args, func(t *testing.T) {
			m := newMachine(t, "disk.p=1 modprobe.blacklist=hash")
			var stdout, stderr bytes.Buffer
			status := Modprobe(m.System, strings.Fields(c.args), &stdout, &stderr)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			m.wantLoaded(t, c.loaded...)
			if !slices.Equal(m.removed, c.removed) {
				t.Errorf("removed %v, want %v", m.removed, c.removed)
			}
			if got := strings.ReplaceAll(stdout.String(), m.Modules, "MODULES"); got != c.stdout {
				t.Errorf("stdout %q, want %q", got, c.stdout)
			}
			if got := stderr.String(); !strings.Contains(got, c.stderr) || (c.stderr == "") != (got == "") {
				t.Errorf("stderr %q, want %q", got, c.stderr)
			}
		})
	}
}

func TestModprobeSaysWhatFailedEvenWhenQuiet(t *testing.T) {
	m := newMachine(t, "")
	m.fail["mii"] = unix.EKEYREJECTED
	var stdout, stderr bytes.Buffer
	if status := Modprobe(m.System, []string{"-q", "mii"}, &stdout, &stderr); status != 1 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(stderr.String(), "kernel/mii.ko") {
		t.Errorf("stderr %q", stderr.String())
	}
}

func TestModprobeWithoutModulesOfTheRunningKernelSaysSo(t *testing.T) {
	m := newMachine(t, "")
	m.Modules = filepath.Join(m.Modules, "gone")
	var stdout, stderr bytes.Buffer
	if status := Modprobe(m.System, []string{"mii"}, &stdout, &stderr); status != 1 || !strings.Contains(stderr.String(), "modules.dep") {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
}
