package qemu

import (
	"errors"
	"strconv"
	"strings"
)

// ubootCode is Debian's U-Boot for QEMU's arm64 machine (package u-boot-qemu).
const ubootCode = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"

func (m Machine) ubootFirmware() ([]string, error) {
	if m.GOARCH != "arm64" {
		return nil, errors.New("only arm64 machines start with U-Boot")
	}
	code, err := firstFile([]string{ubootCode})
	return []string{"-bios", code}, err
}

// maxPorts is how many ports of this kind Linux has (CONFIG_SERIAL_8250_NR_UARTS).
const maxPorts = 4

// serialPorts returns the arguments for serial ports: the machine's own, on which
// U-Boot speaks, and as many more as make the last one the board's console. Both
// go to the same place; a person types to the board's.
func serialPorts(to, console string) []string {
	monitor := false
	if to, monitor = strings.CutPrefix(to, "mon:"); to == "stdio" {
		to += ",signal=off"
	}
	args := []string{"-chardev", to + ",id=console,mux=on", "-serial", "chardev:console"}
	number, _ := strings.CutPrefix(console, "ttyS")
	if last, err := strconv.Atoi(number); err == nil && last >= 0 && last < maxPorts {
		for port := range last {
			unused := "unused" + strconv.Itoa(port)
			args = append(args, "-chardev", "null,id="+unused, "-device", "pci-serial,chardev="+unused)
		}
		args = append(args, "-device", "pci-serial,chardev=console")
	}
	if monitor {
		args = append(args, "-mon", "chardev=console,mode=readline")
	}
	return args
}
