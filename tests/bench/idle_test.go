package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/tests/machine"
)

func TestProcessesOfOneProgramAreOne(t *testing.T) {
	proc := t.TempDir()
	for pid, files := range map[string]map[string]string{
		"1":   {"cmdline": "/init\x00", "smaps_rollup": "Rss: 30 kB\nPss: 20 kB\n"},
		"2":   {"cmdline": ""}, // a thread of the kernel
		"70":  {"cmdline": "/usr/bin/skerry\x00run\x00", "smaps_rollup": "Rss: 300 kB\nPss: 200 kB\n"},
		"80":  {"cmdline": "/usr/lib/skerry/shim\x00-id\x00a\x00", "smaps_rollup": "Rss: 3 kB\nPss: 1 kB\n"},
		"90":  {"cmdline": "/usr/lib/skerry/shim\x00-id\x00b\x00", "smaps_rollup": "Rss: 3 kB\nPss: 2 kB\n"},
		"100": {"cmdline": "/gone\x00"},
		"110": {"cmdline": "/going\x00", "smaps_rollup": ""},
		"120": {},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	disk := filepath.Join(t.TempDir(), "stat")
	for name, text := range map[string]string{disk: "  10 1 2 3 20 5 6 7 0 9 10\n", filepath.Join(proc, "stat"): "cpu  100 1 20 7000 800 3 4 0 50 0\ncpu0 1 1\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	snapshots := t.TempDir()
	for name, text := range map[string]string{"one": "1234", "one.sha256": "12"} {
		if err := os.WriteFile(filepath.Join(snapshots, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := takeSample(proc, disk, snapshots)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{PSS: map[string]float64{"init": 20 << 10, "skerry run": 200 << 10, "shim": 3 << 10}, CPU: 1280 * time.Millisecond, Written: 6 * 512, Snapshots: 6}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsNoDiskIsRefused(t *testing.T) {
	for _, wrong := range []string{"", "1 2 3 4 5 6", "1 2 3 4 5 6 seven"} {
		if got, err := parseDiskWritten(wrong); err == nil {
			t.Errorf("%q: got %v", wrong, got)
		}
	}
}

// quietConsole is that of a node that takes samples.
func quietConsole(t *testing.T, samples ...sample) *machine.Console {
	t.Helper()
	var text strings.Builder
	text.WriteString(sampleMark + `{"age":1}` + "\nskerry: node up: idle 10.0.2.15 release 1 slot A: cluster server Ready\n")
	for _, s := range samples {
		line, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("\n  problems  none\n" + sampleMark + string(line) + "\n")
	}
	console := machine.NewConsole()
	console.Follow(strings.NewReader(text.String()))
	return console
}

func TestANodeIsWatchedAfterItHasSettled(t *testing.T) {
	at := func(age time.Duration, written, snapshots float64, processes ...string) sample {
		s := sample{Age: age * time.Minute, Written: written, Snapshots: snapshots, PSS: map[string]float64{}}
		for _, name := range processes {
			s.PSS[name] = float64(age)
		}
		return s
	}
	role := quietRole{ready: "cluster server Ready", processes: []string{"skerry run"}, snapshots: true, settled: 2 * time.Minute, watched: 12 * time.Minute}
	got, err := watch(quietConsole(t,
		at(10, 5e6, 0, "skerry run", "runc"), at(11, 5e6, 0, "skerry run"), at(12, 6e6, 1e6, "skerry run"), at(20, 6e6, 1e6), at(24, 7e6, 1e6, "skerry run"),
	), role)
	if err != nil {
		t.Fatal(err)
	}
	want := quietNode{pss: map[string]float64{"skerry run": 24}, written: 120*1e6 + 2*1e6}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(quietNode{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, samples := range map[string][]sample{
		"the process has ended": {at(1, 0, 1, "skerry run"), at(3, 0, 1, "skerry run"), at(15, 0, 1)},
		"no snapshot":           {at(1, 0, 0, "skerry run"), at(3, 0, 0, "skerry run"), at(15, 0, 0, "skerry run")},
		"a late snapshot":       {at(1, 0, 1, "skerry run"), at(3, 0, 1, "skerry run"), at(15, 0, 2, "skerry run")},
		"the machine ends":      {at(1, 0, 1, "skerry run"), at(3, 0, 1, "skerry run")},
		"no more samples":       {at(1, 0, 1, "skerry run"), {Error: "the disk is gone"}, at(3, 0, 1, "skerry run"), at(15, 0, 1, "skerry run")},
	} {
		if got, err := watch(quietConsole(t, samples...), role); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestTheClustersMemoryIsThatOfItsProcesses(t *testing.T) {
	const mib = 1 << 20
	m := quietFigures{
		server: quietNode{map[string]float64{"skerry run": 200 * mib, "skerry run-node": 50 * mib, "skerry run-containerd": 30 * mib, "coredns": 40 * mib, "bench": 9 * mib}, 20e6},
		agent:  quietNode{map[string]float64{"skerry run": 70 * mib, "skerry run-containerd": 30 * mib, "init": 10 * mib}, 1e6},
	}
	var p page
	m.write(&p)
	got := rows(&p)
	for what, want := range map[string][]string{
		"the cluster":       {"280.0 MiB", "≤ 400.0 MiB", "100.0 MiB", "≤ 130.0 MiB"},
		"`skerry run-node`": {"50.0 MiB", "", "–", ""},
		"`coredns`":         {"40.0 MiB", "", "–", ""},
		"`init`":            {"–", "", "10.0 MiB", ""},
		"`bench`":           nil,
		"written a day":     {"20.0 MB", "≤ 50 MB", "1.0 MB", ""},
	} {
		if diff := cmp.Diff(want, got[what]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}
