// Package dm makes device-mapper devices through the kernel's ioctl interface:
// create with a table, look at, remove. It is what `dmsetup create` does, with
// the targets a read-only root needs, linear and verity, and any other whose
// parameters the caller can write.
//
// Structures and commands are those of linux/dm-ioctl.h, interface version 4.
// What the parameters of a target mean is left to the caller and the kernel
// (Documentation/admin-guide/device-mapper).
package dm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sectors counts units of 512 bytes, whatever the device's own sector size is.
type Sectors uint64

// SectorBytes is the size of the unit of [Sectors].
const SectorBytes = 512

// Target maps one range of a device.
type Target struct {
	Start, Length Sectors
	Type          string // "linear", "verity"
	Params        string // as after the type in a dmsetup table
}

// Device is a device-mapper device the kernel has.
type Device struct {
	Name         string
	Major, Minor uint32
	Node         string // "/dev/dm-0"
	OpenCount    int
	ReadOnly     bool
	Suspended    bool
	Active       bool // a table is loaded and in effect
}

// Control is the open control device. It is not safe for concurrent use.
type Control struct {
	dev   string
	ioctl func(command uintptr, buffer []byte) error
	close func() error
}

// The control device's number (Documentation/admin-guide/devices.txt).
const (
	controlMajor = 10
	controlMinor = 236
)

// Open opens mapper/control in dev, usually "/dev", and makes the node when
// devtmpfs lacks it. The kernel module dm-mod must be there. It fails when
// the kernel's interface is not version 4.
func Open(dev string) (*Control, error) {
	name := filepath.Join(dev, "mapper/control")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, fmt.Errorf("make device-mapper control node: %w", err)
		}
		number := int(unix.Mkdev(controlMajor, controlMinor))
		if err := unix.Mknod(name, unix.S_IFCHR|0o600, number); err != nil {
			return nil, fmt.Errorf("make device-mapper control node %s: %w", name, err)
		}
		f, err = os.OpenFile(name, os.O_RDWR, 0)
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("open %s: %w: the kernel has no device mapper: load module dm-mod", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open device-mapper control: %w", err)
	}
	c := &Control{dev: dev, close: f.Close, ioctl: func(command uintptr, buffer []byte) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), command, uintptr(unsafe.Pointer(&buffer[0])))
		if errno != 0 {
			return errno
		}
		return nil
	}}
	if _, err := c.Version(); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the control device. Devices that were made stay.
func (c *Control) Close() error { return c.close() }

// Version returns the kernel's version of the interface, "4.48.0".
func (c *Control) Version() (string, error) {
	h := header{}
	b, err := c.do(cmdVersion, &h, nil)
	if err != nil {
		return "", fmt.Errorf("ask device-mapper for its version: %w", err)
	}
	major, minor, patch := version(b)
	if major != versionMajor {
		return "", fmt.Errorf("device-mapper interface is version %d.%d.%d, this program speaks %d", major, minor, patch, versionMajor)
	}
	return fmt.Sprintf("%d.%d.%d", major, minor, patch), nil
}

// Create makes a device with a table and starts it. If any step fails,
// nothing is left behind. The uuid may be empty.
func (c *Control) Create(name, uuid string, table []Target, readOnly bool) (Device, error) {
	h := header{name: name, uuid: uuid}
	if readOnly {
		h.flags = flagReadOnly
	}
	if _, err := c.do(cmdCreate, &h, nil); err != nil {
		return Device{}, fmt.Errorf("create device-mapper device %s: %w", name, err)
	}
	d, err := c.start(name, h.flags, table)
	if err != nil {
		return Device{}, errors.Join(err, c.Remove(name, false))
	}
	return d, nil
}

func (c *Control) start(name string, flags uint32, table []Target) (Device, error) {
	targets, err := encodeTargets(table)
	if err != nil {
		return Device{}, fmt.Errorf("table of device-mapper device %s: %w", name, err)
	}
	load := header{name: name, flags: flags, targets: uint32(len(table))}
	if _, err := c.do(cmdTableLoad, &load, targets); err != nil {
		// The kernel says more in its log than in the error number.
		return Device{}, fmt.Errorf("load table of device-mapper device %s (%s): %w: see the kernel log for what it rejects", name, describe(table), err)
	}
	resume := header{name: name}
	b, err := c.do(cmdSuspend, &resume, nil) // without the suspend flag: resume
	if err != nil {
		return Device{}, fmt.Errorf("start device-mapper device %s: %w", name, err)
	}
	return c.device(b), nil
}

// Remove removes a device. With deferred, a device still open goes away with
// its last user; without, it is an error.
func (c *Control) Remove(name string, deferred bool) error {
	h := header{name: name}
	if deferred {
		h.flags = flagDeferredRemove
	}
	if _, err := c.do(cmdRemove, &h, nil); err != nil {
		return fmt.Errorf("remove device-mapper device %s: %w", name, err)
	}
	return nil
}

// Device looks a device up by name. The error of one that is not there is ENXIO.
func (c *Control) Device(name string) (Device, error) {
	h := header{name: name}
	b, err := c.do(cmdStatus, &h, nil)
	if err != nil {
		return Device{}, fmt.Errorf("look up device-mapper device %s: %w", name, err)
	}
	return c.device(b), nil
}

// Status returns the targets of a device; Params are what the target says of its
// state. For verity that is "V" as long as no corruption was seen, then "C".
func (c *Control) Status(name string) ([]Target, error) {
	h := header{name: name}
	b, err := c.do(cmdTableStatus, &h, make([]byte, statusBytes))
	if err != nil {
		return nil, fmt.Errorf("ask device-mapper device %s for its status: %w", name, err)
	}
	targets, err := decodeTargets(b)
	if err != nil {
		return nil, fmt.Errorf("status of device-mapper device %s: %w", name, err)
	}
	return targets, nil
}

// do runs one command. The returned buffer is what the kernel left in it.
func (c *Control) do(command uintptr, h *header, payload []byte) ([]byte, error) {
	b, err := h.encode(payload)
	if err != nil {
		return nil, err
	}
	return b, c.ioctl(command, b)
}

func (c *Control) device(b []byte) Device {
	d := decodeDevice(b)
	d.Node = filepath.Join(c.dev, fmt.Sprintf("dm-%d", d.Minor))
	return d
}

// String prints a target as a line of a dmsetup table.
func (t Target) String() string {
	return fmt.Sprintf("%d %d %s %s", t.Start, t.Length, t.Type, t.Params)
}

func describe(table []Target) string {
	lines := make([]string, len(table))
	for i, t := range table {
		lines[i] = t.String()
	}
	return strings.Join(lines, "; ")
}
