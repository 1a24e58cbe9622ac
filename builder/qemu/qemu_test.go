package qemu

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The demo forwards the API's port to the same number.
func TestAPortCanBeForwardedToItself(t *testing.T) {
	if f, err := ParseForward("6443:6443"); err != nil || f != (Forward{Host: 6443, Node: 6443}) {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestForwardSyntax(t *testing.T) {
	f, err := ParseForward("8080:80")
	if err != nil || f != (Forward{Host: 8080, Node: 80}) {
		t.Errorf("got %v, %v", f, err)
	}
	for _, bad := range []string{"", "80", "a:80", "80:", "0:80", "80:65536", "80:80:80"} {
		if _, err := ParseForward(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestCommandNamesDiskBusAndPorts(t *testing.T) {
	dir := t.TempDir()
	m := Machine{GOARCH: "amd64", Disk: "a,b.img", Bus: "nvme", Variables: filepath.Join(dir, "vars"),
		Forwards: []Forward{{2222, 22}}}
	args, err := m.Command()
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(args, " ")
	for _, want := range []string{"file=a,,b.img", "nvme,drive=disk", "hostfwd=tcp:127.0.0.1:2222-:22"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not part of %s", want, line)
		}
	}
	m.NoNetwork = true
	if args, _ = m.Command(); slices.Contains(args, "-netdev") {
		t.Error("there is a network card although none is wanted")
	}
}

func TestMachinesOfASegmentHaveAddressesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	mac := regexp.MustCompile(`mac=52:54:00:\S+`)
	card := func(disk string) string {
		args, err := Machine{GOARCH: "amd64", Disk: disk, Variables: filepath.Join(dir, "vars"), LAN: "/tmp/l,an"}.Command()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasSuffix(arg, "addr.path=/tmp/l,,an") }) {
			t.Errorf("the segment is not part of %q", args)
		}
		return mac.FindString(strings.Join(args, " "))
	}
	if first, second := card("a"), card("b"); first == "" || first == second || second != card("b") {
		t.Errorf("addresses %q and %q", first, second)
	}
	// By the disk, whatever it is called from where.
	t.Chdir(dir)
	if here, elsewhere := card("node.disk"), card(filepath.Join(t.TempDir(), "node.disk")); here == elsewhere || here != card(filepath.Join(dir, "node.disk")) {
		t.Errorf("addresses of disks in two folders: %q and %q", here, elsewhere)
	}
	line := strings.Join(WayOut("/tmp/lan", []Forward{{6443, 6443}}), " ")
	if !strings.Contains(line, "hostfwd=tcp:127.0.0.1:6443-:6443") || !strings.Contains(line, "addr.path=/tmp/lan") {
		t.Errorf("the way out: %s", line)
	}
}

func TestUnknownBusAndArchitectureAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := (Machine{GOARCH: "amd64", Bus: "scsi", Variables: filepath.Join(dir, "v")}).Command(); err == nil ||
		!strings.Contains(err.Error(), "virtio, nvme, ahci, usb") {
		t.Errorf("bus: %v", err)
	}
	if _, err := (Machine{GOARCH: "riscv64"}).Command(); err == nil {
		t.Error("architecture was accepted")
	}
}

func TestVariablesOfAnotherArchitectureAreRefused(t *testing.T) {
	variables := filepath.Join(t.TempDir(), "node.disk.variables")
	if _, err := (Machine{GOARCH: "amd64", Variables: variables}).Command(); err != nil {
		t.Fatal(err)
	}
	if _, err := (Machine{GOARCH: "amd64", Variables: variables}).Command(); err != nil {
		t.Errorf("its own: %v", err)
	}
	_, err := Machine{GOARCH: "arm64", Variables: variables}.Command()
	if err == nil || !strings.Contains(err.Error(), variables) || !strings.Contains(err.Error(), "architecture") {
		t.Errorf("got %v", err)
	}
}

func TestABoardWithUBootGetsItsSerialPort(t *testing.T) {
	for console, want := range map[string]int{"ttyS2": 3, "ttyS0": 1, "ttyAMA0": 0, "ttyS4": 0, "": 0} {
		args, err := Machine{GOARCH: "arm64", UBoot: true, Console: console}.Command()
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Join(args, " ")
		if got := strings.Count(line, "-device pci-serial,"); got != want {
			t.Errorf("%s: %d ports, want %d", console, got, want)
		}
		if want > 0 && !strings.Contains(line, "pci-serial,chardev=console") {
			t.Errorf("%s: the console is not connected: %s", console, line)
		}
		if !strings.Contains(line, "-bios ") || strings.Contains(line, "pflash") {
			t.Errorf("%s: %s", console, line)
		}
	}
	if _, err := (Machine{GOARCH: "amd64", UBoot: true}).Command(); err == nil {
		t.Error("U-Boot on amd64 was accepted")
	}
}
