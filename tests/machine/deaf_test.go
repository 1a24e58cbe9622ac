package machine

import (
	"slices"
	"testing"
)

// As QEMU 10.0.2 printed it.
const (
	deafLAPIC = "dumping local APIC state for CPU 1 \r\n\r\nLVT0\t 0x00010700 active-hi edge  masked                      ExtINT (vec 0)\r\n" +
		"ESR\t 0x00000000\r\nISR\t 236 \r\nIRR\t 33 34 35 236 \r\n\r\nAPR 0x01 TPR 0x10 DFR 0x0f LDR 0x00 PPR 0xe0\r\n"
	goodLAPIC = "dumping local APIC state for CPU 0 \r\n\r\nESR\t 0x00000000\r\nISR\t (none)\r\nIRR\t (none)\r\n"
	registers = "\r\nCPU#0\r\nRIP=ffffffffadb12a3f RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n" +
		"CPU#1\r\nRIP=ffffffffadb12a3f RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"
)

func TestAnInterruptInServiceIsFound(t *testing.T) {
	if got := inService(deafLAPIC); got != "236" {
		t.Errorf("in service: %q", got)
	}
	if got := inService(goodLAPIC); got != "" {
		t.Errorf("in service: %q", got)
	}
	if got := haltedProcessors(registers); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("halted: %v", got)
	}
}
