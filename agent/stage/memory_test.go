package stage

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// statm is the kernel's other word for the same, in pages (proc_pid_statm(5)).
func TestResidentMemoryIsWhatStatmSays(t *testing.T) {
	contents, err := os.ReadFile("/proc/1/status")
	if err != nil {
		t.Fatal(err)
	}
	got, err := residentBytes(string(contents))
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile("/proc/1/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	// The process runs on between the two: it may grow or shrink a little.
	if want := pages * int64(os.Getpagesize()); got < want*9/10 || got > want*11/10 {
		t.Errorf("got %d bytes, statm says %d", got, want)
	}
}

func TestResidentMemoryIsRefusedWhereItIsNoNumber(t *testing.T) {
	for _, text := range []string{"", "VmPeak:\t  10 kB\n", "VmRSS:\n", "VmRSS:\t12 MB\n", "VmRSS:\tx kB\n"} {
		if got, err := residentBytes(text); err == nil {
			t.Errorf("%q: got %d", text, got)
		}
	}
	if got, err := residentBytes("VmRSS:\t   18600 kB\nThreads:\t7\n"); err != nil || got != 18600<<10 {
		t.Errorf("got %d, %v", got, err)
	}
}
