package process

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyAreasThatTheFileCanRestoreAreUnmapped(t *testing.T) {
	const smaps = `00400000-04a00000 r-xp 00000000 fe:00 131 /usr/bin/skerry
Size:              71680 kB
Rss:               40000 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
04a00000-09000000 r--p 04600000 fe:00 131 /usr/bin/skerry
Anonymous:             4 kB
09000000-09800000 rw-p 08c00000 fe:00 131 /usr/bin/skerry
Anonymous:             0 kB
0a000000-0a800000 r--p 00000000 fe:00 132 /usr/lib/other
Anonymous:             0 kB
c000000000-c008000000 rw-p 00000000 00:00 0
Anonymous:        120000 kB
7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`
	got, err := cleanAreas(strings.NewReader(smaps), "/usr/bin/skerry")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]area{{0x400000, 0x4a00000}}, got, cmp.AllowUnexported(area{})); diff != "" {
		t.Errorf("areas (-want +got):\n%s", diff)
	}
}

func TestThePagesOfAProgramLeaveItsMemory(t *testing.T) {
	before := fileMemory(t)
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if after := fileMemory(t); after >= before {
		t.Errorf("%d kB of files are in memory, and were %d kB before", after, before)
	}
}

// fileMemory is how much of files this process has in its memory, in kB.
func fileMemory(t *testing.T) int {
	t.Helper()
	contents, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(contents)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			kilobytes, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes
		}
	}
	t.Fatal("no RssFile in /proc/self/status")
	return 0
}

func TestAStartMayTakeAPartOfTheMemory(t *testing.T) {
	for machine, want := range map[uint64]int64{0: 192 << 20, 1 << 30: 192 << 20, 2 << 30: 256 << 20, 8 << 30: 1 << 30} {
		if got := startLimit(machine); got != want {
			t.Errorf("of %d bytes: got %d, want %d", machine, got, want)
		}
	}
	if machine := machineMemory(); machine < 256<<20 {
		t.Errorf("this machine has %d bytes", machine)
	}
}
