package elfdeps

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// header returns an ELF header without anything behind it.
func header(t target) []byte {
	h := make([]byte, 64)
	copy(h, elf.ELFMAG)
	h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(t.class), byte(t.data), 1
	var order binary.ByteOrder = binary.LittleEndian
	if t.data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	order.PutUint16(h[16:], uint16(elf.ET_EXEC))
	order.PutUint16(h[18:], uint16(t.machine))
	order.PutUint32(h[20:], 1)
	return h
}

func TestArchitectureAgreesWithReadelf(t *testing.T) {
	machines := map[string]string{
		"amd64": "X86-64", "arm64": "AArch64", "386": "80386", "arm": "ARM", "riscv64": "RISC-V", "loong64": "LoongArch",
		"ppc64le": "PowerPC64", "ppc64": "PowerPC64", "s390x": "S/390", "mips64le": "MIPS", "mipsle": "MIPS",
	}
	for want, goarch := range goarchs {
		got, isELF, err := Architecture(bytes.NewReader(header(want)))
		if got != goarch || !isELF || err != nil {
			t.Errorf("%v: got %q, %v, %v", want, got, isELF, err)
		}
		file := filepath.Join(t.TempDir(), "elf")
		if err := os.WriteFile(file, header(want), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("readelf", "-h", file).Output()
		if err != nil && len(out) == 0 {
			t.Fatalf("readelf (package binutils): %v", err)
		}
		if !strings.Contains(string(out), machines[goarch]) {
			t.Errorf("%s: readelf says otherwise:\n%s", goarch, out)
		}
	}
}

func TestArchitectureOfGoProgramsForAnotherMachine(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "out"), source)
	build.Env = append(os.Environ(), "GOARCH=arm64", "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	f, err := os.Open(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if arch, isELF, err := Architecture(f); arch != "arm64" || !isELF || err != nil {
		t.Errorf("got %q, %v, %v", arch, isELF, err)
	}
}

func TestArchitectureOfOtherFiles(t *testing.T) {
	good := header(target{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB})
	for _, c := range []struct {
		name  string
		file  []byte
		isELF bool
		fails bool
	}{
		{"empty file", nil, false, false},
		{"three bytes of the magic", good[:3], false, false},
		{"text", []byte("#!/bin/sh\nexit 0\nmore\n"), false, false},
		{"magic alone", good[:4], true, true},
		{"one byte short of the machine", good[:19], true, true},
		{"unknown byte order", append([]byte("\x7fELF\x02\x09"), make([]byte, 20)...), true, true},
		{"eBPF program", header(target{elf.EM_BPF, elf.ELFCLASS64, elf.ELFDATA2LSB}), true, false},
		{"32-bit x86-64", header(target{elf.EM_X86_64, elf.ELFCLASS32, elf.ELFDATA2LSB}), true, false},
	} {
		arch, isELF, err := Architecture(bytes.NewReader(c.file))
		if arch != "" || isELF != c.isELF || (err != nil) != c.fails {
			t.Errorf("%s: got %q, %v, %v", c.name, arch, isELF, err)
		}
	}
	if arch, _, err := Architecture(bytes.NewReader(good[:20])); arch != "amd64" || err != nil {
		t.Errorf("20 bytes are enough: got %q, %v", arch, err)
	}
}
