// Package qemu runs a disk image as the board it was made for would run it:
// same firmware kind, same bus for the disk, same console. `builder run` and
// the system tests boot images through it.
//
// Images of boards with U-Boot run on QEMU's machine virt with Debian's U-Boot for
// it: their boot script, slots and kernel are what the board has, its blobs and
// devices are not.
//
// It needs QEMU 9 or newer and the firmware of Debian's packages ovmf,
// qemu-efi-aarch64 and u-boot-qemu. Without KVM, QEMU emulates: an order of magnitude slower.
package qemu

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Buses lists what a disk can hang on.
var Buses = []string{"virtio", "nvme", "ahci", "usb"}

// Forward makes a port of the node reachable at the host's loopback address.
type Forward struct{ Host, Node int }

// ParseForward reads HOST:NODE, two TCP ports.
func ParseForward(s string) (Forward, error) {
	host, node, ok := strings.Cut(s, ":")
	if !ok {
		return Forward{}, fmt.Errorf("port %q: write HOST:NODE, e.g. 8080:80", s)
	}
	var ports [2]int
	for i, text := range []string{host, node} {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return Forward{}, fmt.Errorf("port %q: %q is no port number between 1 and 65535", s, text)
		}
		ports[i] = int(n)
	}
	return Forward{Host: ports[0], Node: ports[1]}, nil
}

// Machine describes one virtual machine.
type Machine struct {
	GOARCH string // amd64 or arm64
	Disk   string // raw image, written to
	Bus    string // one of Buses; virtio if empty
	Memory int    // MiB; 1024 if 0
	CPUs   int    // 2 if 0
	// UBoot starts with U-Boot in the place of UEFI, on arm64 only.
	UBoot bool
	// Console is the board's serial console as the kernel calls it, as in ttyS2.
	// Where it is not the machine's own one, the machine gets so many serial ports
	// that there is one of this name. Only with UBoot.
	Console string
	// Variables is the file that keeps the firmware's variables. It is made
	// from the firmware's template if it does not exist.
	Variables string
	Forwards  []Forward
	// Monitor is the path of the unix socket on which QEMU speaks QMP; none if empty.
	Monitor string
	// Serial is QEMU's word for where the serial console goes; stdio if empty.
	Serial string
	// NoNetwork leaves the machine without a network card.
	NoNetwork bool
	// LAN is the socket of the segment that the machine shares with others (package
	// lan); none if empty. What leads to it from outside is the segment's.
	LAN string
	// Extra is appended to the command line as it is.
	Extra []string
}

// platform is what differs between architectures.
type platform struct {
	program   string
	machine   string
	cpu       string // when emulating
	code      []string
	variables []string
}

// The processors that are emulated are chosen for what costs an emulator much.
// Kernels keep their page tables from programs on processors that could leak them
// (Meltdown), and on arm64 on those that let programs time the kernel's addresses
// (without FEAT_E0PD). Each system call then switches tables, after which QEMU looks
// up each page again: programs took up to twice as long as on these.
var platforms = map[string]platform{
	"amd64": {
		program: "qemu-system-x86_64",
		machine: "q35",
		// x86-64-v2, which the images need, of a maker whose processors do not leak;
		// with instructions for AES and SHA, which QEMU hands on.
		cpu:       "Nehalem,vendor=AuthenticAMD,+aes,+pclmulqdq,+sha-ni",
		code:      []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"},
		variables: []string{"/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	},
	"arm64": {
		program: "qemu-system-aarch64",
		machine: "virt",
		// Without what takes long and nobody here needs.
		cpu:       "max,pauth=off,sve=off,sme=off",
		code:      []string{"/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_CODE.fd"},
		variables: []string{"/usr/share/AAVMF/AAVMF_VARS.fd"},
	},
}

// Command returns QEMU's command line, program first, after it has made the
// variables file if that is missing.
func (m Machine) Command() ([]string, error) {
	p, ok := platforms[m.GOARCH]
	if !ok {
		return nil, fmt.Errorf("run %s: there is no virtual machine for architecture %s", m.Disk, m.GOARCH)
	}
	firmware, err := m.firmware(p)
	if err != nil {
		return nil, err
	}
	if m.UBoot {
		// With ACPI the power button is where only UEFI's kernel looks.
		p.machine += ",acpi=off"
	}
	cpu, accel := p.cpu, "tcg,thread=multi"
	if Virtualizes(m.GOARCH) {
		cpu, accel = "host", "kvm"
	}
	args := []string{p.program, "-nodefaults", "-no-user-config",
		"-machine", p.machine, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(orDefault(m.CPUs, 2)), "-m", strconv.Itoa(orDefault(m.Memory, 1024)),
		"-drive", "if=none,id=disk,format=raw,discard=unmap,file=" + escape(m.Disk),
		"-device", "virtio-rng-pci",
		"-device", "i6300esb", "-action", "watchdog=reset",
		"-device", "virtio-gpu-pci", "-display", "none",
		"-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0"}
	args = append(args, firmware...)
	disk, err := m.diskDevice()
	if err != nil {
		return nil, err
	}
	args = append(args, disk...)
	args = append(args, m.network()...)
	serial := m.Serial
	if serial == "" {
		serial = "mon:stdio"
	}
	if m.UBoot {
		args = append(args, serialPorts(serial, m.Console)...)
	} else {
		args = append(args, "-serial", serial)
	}
	if m.Monitor != "" {
		args = append(args, "-qmp", "unix:"+escape(m.Monitor)+",server=on,wait=off")
	}
	return append(args, m.Extra...), nil
}

// firmware returns the arguments for what the machine starts with.
func (m Machine) firmware(p platform) ([]string, error) {
	if m.UBoot {
		return m.ubootFirmware()
	}
	code, err := firstFile(p.code)
	if err != nil {
		return nil, err
	}
	return []string{"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(code),
		"-drive", "if=pflash,unit=1,format=raw,file=" + escape(m.Variables)}, m.makeVariables(p)
}

func (m Machine) diskDevice() ([]string, error) {
	switch m.Bus {
	case "", "virtio":
		return []string{"-device", "virtio-blk-pci,drive=disk,bootindex=1"}, nil
	case "nvme":
		return []string{"-device", "nvme,drive=disk,serial=skerry,bootindex=1"}, nil
	case "ahci":
		return []string{"-device", "ich9-ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0,bootindex=1"}, nil
	case "usb":
		return []string{"-device", "usb-storage,bus=xhci.0,drive=disk,bootindex=1"}, nil
	}
	return nil, fmt.Errorf("disk bus %q: choose one of %s", m.Bus, strings.Join(Buses, ", "))
}

// network returns the arguments for the network card.
func (m Machine) network() []string {
	const card = "virtio-net-pci,netdev=net"
	switch {
	case m.NoNetwork:
		return nil
	case m.LAN == "":
		return []string{"-netdev", UserNetwork("net", m.Forwards), "-device", card}
	}
	// Machines of a segment need different addresses: of those for local use.
	sum := sha256.Sum256([]byte(where(m.Disk)))
	mac := net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
	return []string{"-netdev", segment("net", m.LAN), "-device", card + ",mac=" + mac.String()}
}

// where returns the one name of a file, from whatever folder it is named.
func where(name string) string {
	if absolute, err := filepath.Abs(name); err == nil {
		name = absolute
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	return name
}

// WayOut returns the command line of what gives the machines of a segment
// addresses, names and a way out: a QEMU without a machine. The forwards lead to
// the machine that asked for an address first. It prints a line, the greeting of
// its monitor, once all of that is there.
func WayOut(lan string, forwards []Forward) []string {
	return []string{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "none", "-display", "none", "-qmp", "stdio",
		"-netdev", UserNetwork("out", forwards), "-netdev", "hubport,id=to-out,hubid=0,netdev=out",
		"-netdev", segment("segment", lan), "-netdev", "hubport,id=to-segment,hubid=0,netdev=segment"}
}

func segment(id, lan string) string {
	return "stream,id=" + id + ",server=off,addr.type=unix,addr.path=" + escape(lan)
}

// UserNetwork is QEMU's own network, as an argument of -netdev.
func UserNetwork(id string, forwards []Forward) string {
	var b strings.Builder
	b.WriteString("user,id=" + id)
	for _, f := range forwards {
		fmt.Fprintf(&b, ",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Node)
	}
	return b.String()
}

// makeVariables copies the firmware's empty variable store if there is none
// yet. On arm64 both flash banks are 64 MiB: Debian ships the template at that size.
func (m Machine) makeVariables(p platform) error {
	template, err := firstFile(p.variables)
	if err != nil {
		return err
	}
	wanted, err := os.Stat(template)
	if err != nil {
		return err
	}
	info, err := os.Stat(m.Variables)
	if err == nil && info.Size() != wanted.Size() {
		// QEMU speaks of pflash devices and blocks here.
		return fmt.Errorf("%s has %d bytes and the firmware of %s needs %d: it belongs to a machine of another architecture or firmware: remove it, or keep this machine's disk under another name",
			m.Variables, info.Size(), m.GOARCH, wanted.Size())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	contents, err := os.ReadFile(template)
	if err != nil {
		return err
	}
	return os.WriteFile(m.Variables, contents, 0o600)
}

func firstFile(names []string) (string, error) {
	i := slices.IndexFunc(names, func(name string) bool {
		_, err := os.Stat(name)
		return err == nil
	})
	if i < 0 {
		return "", fmt.Errorf("firmware %s is not installed: run `make deps`", filepath.Base(names[0]))
	}
	return names[i], nil
}

// Virtualizes tells whether machines of an architecture run on the processor
// itself (KVM). Others are emulated.
func Virtualizes(goarch string) bool {
	return goarch == runtime.GOARCH && writable("/dev/kvm") && virtualizes("/proc/cpuinfo")
}

// virtualizes tells whether the processor can run machines itself. Without, a
// /dev/kvm may still be there, of hosts that run changed kernels in software:
// firmware does not start on it.
func virtualizes(cpuinfo string) bool {
	if runtime.GOARCH != "amd64" {
		return true
	}
	contents, err := os.ReadFile(cpuinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(contents)) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			words := strings.Fields(flags)
			return slices.Contains(words, "vmx") || slices.Contains(words, "svm")
		}
	}
	return false
}

func writable(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// escape doubles commas, which separate QEMU's options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
