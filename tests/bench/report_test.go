package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The console's own golden file is what a node shows.
func TestBootIsReadFromTheConsolesOwnWords(t *testing.T) {
	text, err := os.ReadFile("../../agent/console/testdata/running-block.golden")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	got, err := parseBoot(append([]string{"phase services (8/9): done, 1 ms"}, lines...))
	if err != nil {
		t.Fatal(err)
	}
	want := bootTimes{kernel: 4120 * time.Millisecond, agent: 2310 * time.Millisecond, network: 1200 * time.Millisecond, memory: 18.2 * (1 << 20)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, missing := range []string{"boot: ", "  agent"} {
		var rest []string
		for _, line := range lines {
			if !strings.HasPrefix(line, missing) {
				rest = append(rest, line)
			}
		}
		if got, err := parseBoot(rest); err == nil {
			t.Errorf("without %q: got %+v", missing, got)
		}
	}
}

func TestRootIsWeighedByKind(t *testing.T) {
	file := func(bytes int) *fstest.MapFile { return &fstest.MapFile{Data: make([]byte, bytes)} }
	got, err := weigh(fstest.MapFS{
		"usr/sbin/init":                       file(1000),
		"usr/sbin/mke2fs":                     file(10),
		"usr/lib/x86_64-linux-gnu/libc.so.6":  file(20),
		"usr/lib/modules/6.12/kernel/a.ko":    file(3),
		"usr/lib/modules/6.12/modules.dep":    file(4),
		"usr/lib/firmware/rtl_nic/x.fw":       file(5),
		"usr/lib/os-release":                  file(6),
		"usr/lib/skerry/services/x.yaml":      file(7),
		"usr/bin/skerry":                      file(2000),
		"etc/passwd":                          file(8),
		"usr/lib/aarch64-linux-gnu/libm.so.6": file(30),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := contents{
		kindAgent: {1, 1000}, kindCluster: {2, 2007}, kindPrograms: {3, 60}, kindModules: {2, 7}, kindFirmware: {1, 5}, kindRest: {2, 14},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(share{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAStepsTimeIsFound(t *testing.T) {
	said := "plan: 2 ms, x\nwrite: 1.3 s, 190.3 MB of 1.35 GB, 160.2 MB/s\nverify: 2 min 5 s\n"
	for step, want := range map[string]time.Duration{"write": 1300 * time.Millisecond, "plan": 2 * time.Millisecond, "verify": 125 * time.Second} {
		if got, err := stepTime(said, step); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", step, got, err, want)
		}
	}
	if got, err := stepTime(said, "flush"); err == nil {
		t.Errorf("a step that was not: %v", got)
	}
}

func TestBuildsAreComparedWithinTheRun(t *testing.T) {
	run := func(wall time.Duration) []usage { return []usage{{wall: wall * time.Second}} }
	m := builds{agent: run(6), unchanged: run(1), config: run(3), floor: run(2), mkosi: run(12)}
	var p page
	m.write(&p)
	rows := map[string][]string{}
	for line := range strings.Lines(p.String()) {
		if cells := strings.Split(line, "|"); len(cells) == 9 {
			rows[strings.TrimSpace(cells[1])] = []string{strings.TrimSpace(cells[6]), strings.TrimSpace(cells[7])}
		}
	}
	for what, want := range map[string][]string{
		"nothing changed":        {"0.50×", "0.08×"},
		"node config changed":    {"1.50×", "0.25×"},
		"agent's source changed": {"3.00×", "0.50×"},
	} {
		if diff := cmp.Diff(want, rows[what]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestWhatCannotBeMeasuredIsNamedWithItsReason(t *testing.T) {
	m := builds{unchanged: []usage{{wall: time.Second}}, floor: []usage{{wall: time.Second}}, mkosiMissing: errors.New("it is not installed")}
	var p page
	m.write(&p)
	if text := p.String(); !strings.Contains(text, "| not measured: it is not installed ") || strings.Contains(text, "mkosi makes") {
		t.Error(text)
	}
}

func TestWrongCommandLinesAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "speed"}, {"-only", ""}, {"-runs", "0"}, {"-boots", "0"}, {"-idle", "0s"}, {"more"}, {"-none"}} {
		var stdout, stderr bytes.Buffer
		if code := run(&stdout, &stderr, args); code != 2 || stderr.Len() == 0 || stdout.Len() > 0 {
			t.Errorf("%v: code %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
	}
}
