// Package elfdeps finds out what an ELF program needs to run: which machine it
// is for, which interpreter and which shared libraries. The builder takes from
// Debian packages only the files that this names.
//
// It follows ld.so(8) where Debian's programs do: DT_RPATH, DT_RUNPATH, the
// multiarch folders. It does not read ld.so.conf, knows nothing of
// glibc-hwcaps, and cannot see what a program opens by dlopen: such libraries
// are to be named like programs.
package elfdeps

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Architecture tells for which machine a file is, by Go's names (GOARCH). A
// file that is no ELF file gives isELF false and no error; one for a machine
// without such a name, as firmware and eBPF programs are, gives "". Only the
// file's first 20 bytes are read (System V ABI, "ELF Header").
func Architecture(r io.ReaderAt) (goarch string, isELF bool, err error) {
	var head [20]byte
	n, err := r.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read ELF header: %w", err)
	}
	if n < len(elf.ELFMAG) || string(head[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return "", false, nil
	}
	if n < len(head) {
		return "", true, errors.New("read ELF header: the file is cut off")
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch elf.Data(head[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
	case elf.ELFDATA2MSB:
		order = binary.BigEndian
	default:
		return "", true, fmt.Errorf("read ELF header: byte order %d is unknown", head[elf.EI_DATA])
	}
	machine := elf.Machine(order.Uint16(head[18:]))
	return goarchs[target{machine, elf.Class(head[elf.EI_CLASS]), elf.Data(head[elf.EI_DATA])}], true, nil
}

// target is what an ELF header says about the machine.
type target struct {
	machine elf.Machine
	class   elf.Class
	data    elf.Data
}

var goarchs = map[target]string{
	{elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB}:    "amd64",
	{elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB}:   "arm64",
	{elf.EM_386, elf.ELFCLASS32, elf.ELFDATA2LSB}:       "386",
	{elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB}:       "arm",
	{elf.EM_RISCV, elf.ELFCLASS64, elf.ELFDATA2LSB}:     "riscv64",
	{elf.EM_LOONGARCH, elf.ELFCLASS64, elf.ELFDATA2LSB}: "loong64",
	{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2LSB}:     "ppc64le",
	{elf.EM_PPC64, elf.ELFCLASS64, elf.ELFDATA2MSB}:     "ppc64",
	{elf.EM_S390, elf.ELFCLASS64, elf.ELFDATA2MSB}:      "s390x",
	{elf.EM_MIPS, elf.ELFCLASS64, elf.ELFDATA2LSB}:      "mips64le",
	{elf.EM_MIPS, elf.ELFCLASS32, elf.ELFDATA2LSB}:      "mipsle",
}

// triplets name Debian's multiarch folders (Debian wiki, Multiarch/Tuples).
var triplets = map[string]string{
	"amd64":    "x86_64-linux-gnu",
	"arm64":    "aarch64-linux-gnu",
	"386":      "i386-linux-gnu",
	"arm":      "arm-linux-gnueabihf",
	"riscv64":  "riscv64-linux-gnu",
	"loong64":  "loongarch64-linux-gnu",
	"ppc64le":  "powerpc64le-linux-gnu",
	"s390x":    "s390x-linux-gnu",
	"mips64le": "mips64el-linux-gnuabi64",
}
