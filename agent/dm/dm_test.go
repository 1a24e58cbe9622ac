package dm

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// kernel stands in for the kernel's side of the ioctls: one device slot table
// by name, with loaded and active tables.
type kernel struct {
	t       *testing.T
	major   uint32
	refuse  map[uintptr]error
	devices map[string]*fakeDevice
}

type fakeDevice struct {
	minor          uint32
	readOnly       bool
	loaded, active []Target
}

func (k *kernel) ioctl(command uintptr, b []byte) error {
	if int(order.Uint32(b[atDataSize:])) != len(b) || order.Uint32(b[atDataStart:]) != headerBytes {
		k.t.Errorf("command %x: sizes do not match the buffer", command)
	}
	if err := k.refuse[command]; err != nil {
		return err
	}
	order.PutUint32(b, k.major)
	name := text(b[atName:][:nameBytes])
	d := k.devices[name]
	if command == cmdVersion {
		return nil
	}
	if command == cmdCreate {
		if d != nil {
			return unix.EBUSY
		}
		k.devices[name] = &fakeDevice{minor: uint32(len(k.devices))}
		return nil
	}
	if d == nil {
		return unix.ENXIO
	}
	switch command {
	case cmdTableLoad:
		d.loaded = k.table(b)
		d.readOnly = order.Uint32(b[atFlags:])&flagReadOnly != 0
	case cmdSuspend:
		d.active = d.loaded
	case cmdRemove:
		delete(k.devices, name)
		return nil
	case cmdTableStatus:
		order.PutUint32(b[atTargets:], 1)
		order.PutUint64(b[headerBytes+atLength:], 800)
		copy(b[headerBytes+atType:], "verity")
		copy(b[headerBytes+specBytes:], "C")
	}
	var flags uint32
	if d.readOnly {
		flags |= flagReadOnly
	}
	if d.active != nil {
		flags |= flagActivePresent
	}
	order.PutUint32(b[atFlags:], flags)
	order.PutUint64(b[atDev:], unix.Mkdev(252, d.minor))
	return nil
}

// table reads targets the way the kernel does when a table is loaded: next
// counts from the target itself.
func (k *kernel) table(b []byte) (targets []Target) {
	at := headerBytes
	for range order.Uint32(b[atTargets:]) {
		targets = append(targets, Target{
			Start: Sectors(order.Uint64(b[at:])), Length: Sectors(order.Uint64(b[at+atLength:])),
			Type: text(b[at+atType:][:typeBytes]), Params: text(b[at+specBytes:]),
		})
		at += int(order.Uint32(b[at+atNext:]))
	}
	if at != len(b) {
		k.t.Errorf("targets end at %d of %d bytes", at, len(b))
	}
	return targets
}

func control(t *testing.T) (*Control, *kernel) {
	k := &kernel{t: t, major: 4, refuse: map[uintptr]error{}, devices: map[string]*fakeDevice{}}
	return &Control{dev: "/dev", ioctl: k.ioctl}, k
}

func TestCreateLoadsAndStartsTheTable(t *testing.T) {
	c, k := control(t)
	table := []Target{{0, 100, "linear", "254:2 8"}, {100, 700, "linear", "254:3 0"}}
	if _, err := c.Create("other", "", table[:1], false); err != nil {
		t.Fatal(err)
	}
	got, err := c.Create("root", "SKERRY-root", table, true)
	if err != nil {
		t.Fatal(err)
	}
	want := Device{Name: "root", Major: 252, Minor: 1, Node: "/dev/dm-1", ReadOnly: true, Active: true}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(table, k.devices["root"].active); d != "" {
		t.Error(d)
	}
}

func TestFailedCreateLeavesNothingBehind(t *testing.T) {
	for _, command := range []uintptr{cmdCreate, cmdTableLoad, cmdSuspend} {
		c, k := control(t)
		k.refuse[command] = unix.EINVAL
		if _, err := c.Create("root", "", []Target{{0, 8, "linear", "254:2 0"}}, true); !errors.Is(err, unix.EINVAL) {
			t.Errorf("command %x refused, got error %v", command, err)
		}
		if len(k.devices) != 0 {
			t.Errorf("command %x refused, but the device is still there", command)
		}
	}
}

func TestRemovedDeviceIsNotFound(t *testing.T) {
	c, _ := control(t)
	if _, err := c.Create("root", "", []Target{{0, 8, "linear", "254:2 0"}}, false); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("root", true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Device("root"); !errors.Is(err, unix.ENXIO) {
		t.Errorf("got error %v, want ENXIO", err)
	}
}

func TestStatusSaysWhatTheTargetSays(t *testing.T) {
	c, _ := control(t)
	if _, err := c.Create("root", "", []Target{{0, 800, "verity", "1 …"}}, true); err != nil {
		t.Fatal(err)
	}
	got, err := c.Status("root")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Target{{0, 800, "verity", "C"}}, got); d != "" {
		t.Error(d)
	}
}

func TestForeignInterfaceVersionIsRefused(t *testing.T) {
	c, k := control(t)
	k.major = 5
	if _, err := c.Version(); err == nil {
		t.Error("interface version 5 was accepted")
	}
}
