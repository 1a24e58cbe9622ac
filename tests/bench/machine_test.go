package main

import (
	"strings"
	"testing"
)

func TestMachineIsNamedByWhatTheKernelSays(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel name\t: Some CPU @ 2.40GHz\n\nprocessor\t: 1\nmodel name\t: Other\n": "Some CPU @ 2.40GHz",
		"CPU implementer\t: 0x41\nCPU part\t: 0xd08\n":                                              "implementer 0x41 part 0xd08",
	} {
		if got := processor(text); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, err := memoryBytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"); err != nil || got != 16<<20 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := memoryBytes("MemFree: 1 kB\n"); err == nil {
		t.Error("memory of unknown size has a size")
	}
}

func TestVersionIsTheFirstNumber(t *testing.T) {
	for text, want := range map[string]string{
		"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c) 2003-2025\n": "10.0.2",
		"mkosi 24.3\n": "24.3",
		" unknown \n":  "unknown",
		"":             "",
	} {
		if got := firstNumber(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
