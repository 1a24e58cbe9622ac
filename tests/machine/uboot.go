package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ubootCode is Debian's U-Boot for QEMU's arm64 machine (package u-boot-qemu).
const ubootCode = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"

// StartUBoot starts an arm64 machine whose firmware is Debian's U-Boot, and
// which ends at the latest when the test does. Its disk may be read-only.
func StartUBoot(t testing.TB, disk string, readOnly bool) *Machine {
	t.Helper()
	drive := "if=none,id=disk,format=raw,readonly=" + map[bool]string{true: "on", false: "off"}[readOnly]
	return StartCommand(t, disk, []string{"qemu-system-aarch64", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a57", "-m", "256",
		"-bios", ubootCode, "-serial", "stdio",
		"-drive", drive + ",file=" + strings.ReplaceAll(disk, ",", ",,"),
		"-device", "virtio-blk-device,drive=disk",
	})
}

// StartCommand starts a machine that package qemu does not know by QEMU's command
// line, which puts the console on stdio. It ends at the latest when the test does.
func StartCommand(t testing.TB, disk string, args []string) *Machine {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(disk), "machine-")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Console: NewConsole(), t: t, dir: dir, exited: make(chan struct{}), stderr: NewConsole()}
	m.run(args)
	return m
}
