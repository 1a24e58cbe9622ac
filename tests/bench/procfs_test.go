package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestProcessorTimeIsReadWhateverTheProgramIsCalled(t *testing.T) {
	const numbers = " S 1 12 12 0 -1 4194304 90 80 7 6 250 75 3 2 20 0 9 0 100 200 300\n"
	for _, name := range []string{"skerry", "a b", "x) S (y", ")", ""} {
		got, err := parseCPU("12 (" + name + ")" + numbers)
		if want := 3250 * time.Millisecond; err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", name, got, err, want)
		}
	}
	for _, wrong := range []string{"", "12", "12 (x)", "12 (x) S 1 2", "12 (x) " + strings.Repeat("y ", 30)} {
		if got, err := parseCPU(wrong); err == nil {
			t.Errorf("%q: got %v", wrong, got)
		}
	}
}

func TestAMachineIsBusyWhenItNeitherIdlesNorWaits(t *testing.T) {
	const others = "\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"
	if got, err := parseBusy("cpu  100 1 20 7000 800 3 4 900 50 0" + others); err != nil || got != 1280*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, wrong := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8 9 10", "cpu 1 2 many 4 5 6 7 8 9 10"} {
		if got, err := parseBusy(wrong + others); err == nil {
			t.Errorf("%q: got %v", wrong, got)
		}
	}
}

func TestWrittenIsWhatGoesToDisks(t *testing.T) {
	const io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n"
	if got, err := parseWritten(io); err != nil || got != 8192 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, wrong := range []string{"", "cancelled_write_bytes: 4096\n", "write_bytes: many\n", "write_bytes: 8 kB\n", "write_bytes:\n"} {
		if got, err := parseWritten(wrong); err == nil {
			t.Errorf("%q: got %v", wrong, got)
		}
	}
}

func TestMemoryIsInBytes(t *testing.T) {
	const rollup = "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:              2048 kB\nPss:              1024 kB\nPss_Dirty:         512 kB\n"
	rss, pss, err := parseMemory(rollup)
	if err != nil || rss != 2<<20 || pss != 1<<20 {
		t.Errorf("got %v, %v, %v", rss, pss, err)
	}
	for _, wrong := range []string{"", "Rss: 1 kB\n", "Pss: 1 kB\n", "Rss: 1 MB\nPss: 1 kB\n"} {
		if _, _, err := parseMemory(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestTheKernelsOwnFilesAreRead(t *testing.T) {
	for end := time.Now().Add(time.Minute); ; {
		c, err := consumptionOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if c.cpu > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("this process is busy and uses no time")
		}
	}
	rss, pss, err := memoryOf(os.Getpid())
	if err != nil || rss < 1<<20 || pss > rss || pss <= 0 {
		t.Errorf("got %v, %v, %v", rss, pss, err)
	}
}
