//go:build system

package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

// What QEMU 10's raspi4b lacks, or has in another way than the board:
var (
	// Devices that it does not have, and at whose registers the kernel stops.
	piMissing = []string{"/soc/interrupt-controller@7ef00100", "/soc/i2c@7ef04500", "/soc/i2c@7ef09500",
		"/soc/hdmi@7ef00700", "/soc/hdmi@7ef05700", "/soc/clock@7ef00000"}
	// Its mini UART never ends its interrupt once it is opened, its watchdog resets
	// the machine when it is armed, and a modem that is not there would take the
	// console's UART.
	piBroken = []string{"/soc/serial@7e215040", "/soc/watchdog@7e100000", "/soc/serial@7e201000/bluetooth"}
)

// copyOut copies files of a FAT file system at the start of a partition into a folder.
func copyOut(t *testing.T, image, partition, dir string, names ...string) {
	t.Helper()
	area, _ := fatArea(t, image, partition)
	for _, name := range names {
		contents, err := area.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), contents, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var saysArguments = regexp.MustCompile(`setenv bootargs "(.*) \$\{skerry_args\}"`)

// startRaspberryPi boots a disk with an image for rpi4. U-Boot hangs in QEMU's
// raspi4b, so this does what it would do: it loads kernel and initramfs out of
// slot A, and the device tree of partition boot, which the firmware would hand on.
// Of that tree it switches off what QEMU does not have, and has the USB controller
// of the power socket be a host: the disk and the network hang on it, in place of
// the card and the network that QEMU lacks. The console is the other UART's. Disk,
// kernel, initramfs and root are the image's.
func startRaspberryPi(t *testing.T, d machine.Disk, forwards ...qemu.Forward) *machine.Machine {
	t.Helper()
	dir := t.TempDir()
	copyOut(t, d.Path, disk.SlotA, dir, bootscript.Kernel, bootscript.Initramfs, bootscript.SlotScript)
	copyOut(t, d.Path, disk.Boot, dir, "bcm2711-rpi-4-b.dtb")
	in := func(name string) string { return filepath.Join(dir, name) }

	packed, err := os.ReadFile(in(bootscript.SlotScript))
	if err != nil {
		t.Fatal(err)
	}
	script, err := bootscript.Script(packed)
	if err != nil {
		t.Fatal(err)
	}
	arguments := saysArguments.FindStringSubmatch(script)
	if arguments == nil {
		t.Fatalf("the slot's script starts no kernel:\n%s", script)
	}
	commandLine := strings.ReplaceAll(arguments[1], "ttyS1", "ttyAMA0") + " skerry.state=" +
		loadBoard(t, "rpi4").Bootloader.Layout().String() + " skerry.booted=A"
	tree := in("bcm2711-rpi-4-b.dtb")
	for _, node := range slices.Concat(piMissing, piBroken) {
		machine.Run(t, "fdtput", "-t", "s", tree, node, "status", "disabled")
	}
	machine.Run(t, "fdtput", "-t", "s", tree, "/soc/usb@7e980000", "dr_mode", "host")

	return machine.StartCommand(t, d.Path, []string{"qemu-system-aarch64", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "raspi4b", "-accel", "tcg,thread=multi", "-serial", "stdio",
		"-kernel", in(bootscript.Kernel), "-initrd", in(bootscript.Initramfs), "-dtb", tree, "-append", commandLine,
		"-drive", "if=none,id=disk,format=raw,file=" + strings.ReplaceAll(d.Path, ",", ",,"), "-device", "usb-storage,drive=disk",
		"-netdev", qemu.UserNetwork("net", forwards), "-device", "usb-net,netdev=net"})
}

func TestRaspberryPiImageComesUpWithAPatchedDeviceTreeAndAnotherConsole(t *testing.T) {
	timed(t)
	d := flashed(t, "rpi4")
	m := startRaspberryPi(t, d)
	up := m.ExpectUp()
	if up.Version != version || up.Slot != "A" {
		t.Errorf("release %s in slot %s is up, not release %s in slot A", up.Version, up.Slot, version)
	}
	if !strings.HasPrefix(up.Hostname, "rpi4-") || !slices.Contains(strings.Split(up.Addresses, ","), "10.0.2.15") {
		t.Errorf("the node is called %s, with addresses %s", up.Hostname, up.Addresses)
	}
	wantLine(t, up.Lines, `^  data +/dev/sda4, .* of .*iB used$`)
	wantLine(t, up.Lines, `^  services +heartbeat ready`)
	refuseLine(t, up.Lines, `: failed: `)
	m.Kill()
	d.CheckTable()
}

func TestOverlaysOfTheRaspberryPiFitItsDeviceTrees(t *testing.T) {
	i := built(t, "rpi4")
	dir := t.TempDir()
	overlays := []string{"rtc-ds3231.dtbo", "rtc-pcf85063.dtbo", "poe-fan.dtbo"}
	trees := []string{"bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4.dtb"}
	copyOut(t, i.path(), disk.Boot, dir, trees...)
	for _, overlay := range overlays {
		copyOut(t, i.path(), disk.Boot, dir, "overlays/"+overlay)
		for _, tree := range trees {
			machine.Run(t, "fdtoverlay", "-i", filepath.Join(dir, tree), "-o", filepath.Join(dir, "out"), filepath.Join(dir, overlay))
		}
	}
}
