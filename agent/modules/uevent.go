package modules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxUevent is more than the kernel sends: 2 KiB of variables
// (UEVENT_BUFFER_SIZE) and a path before them.
const MaxUevent = 8 << 10

// Actions of events. Lost is not the kernel's: events were dropped because nobody
// received them in time, and who follows devices must look at sysfs again.
const (
	Add    = "add"
	Remove = "remove"
	Change = "change"
	Move   = "move"
	Bind   = "bind"
	Unbind = "unbind"
	Lost   = "lost"
)

// Event is what the kernel says about a device. See
// Documentation/ABI/testing/sysfs-uevent and lib/kobject_uevent.c.
type Event struct {
	Action    string
	Devpath   string // below /sys: /devices/pci0000:00/…
	Subsystem string // block, net, usb, …
	Devtype   string // disk, partition, usb_device, …
	Devname   string // below /dev
	Driver    string
	Modalias  string
	Partname  string // the GPT name of a partition
	Partn     int    // number of a partition, 0 if it is none
	Major     int
	Minor     int
	Seqnum    uint64

	variables string // "KEY=value\x00…"
}

// Get returns a variable that has no field of its own.
func (e Event) Get(key string) string {
	for entry := range strings.SplitSeq(e.variables, "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok && name == key {
			return value
		}
	}
	return ""
}

// ParseUevent reads one message of the kernel's uevent socket:
// "add@/devices/…", then variables, all ended by NUL. Messages of udev on the same
// socket ("libudev") are refused.
func ParseUevent(message []byte) (Event, error) {
	if len(message) > MaxUevent {
		return Event{}, fmt.Errorf("read uevent: %d bytes are too many", len(message))
	}
	header, rest, ok := strings.Cut(string(message), "\x00")
	action, devpath, isKernel := strings.Cut(header, "@")
	if !ok || !isKernel || action == "" || !strings.HasPrefix(devpath, "/") {
		return Event{}, errors.New("read uevent: it does not begin with ACTION@/PATH: not from the kernel")
	}
	e := Event{Action: action, Devpath: devpath, variables: rest}
	for entry := range strings.SplitSeq(rest, "\x00") {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		if err := e.set(key, value); err != nil {
			return Event{}, fmt.Errorf("read uevent %s: %s: %w", header, key, err)
		}
	}
	return e, nil
}

func (e *Event) set(key, value string) (err error) {
	switch key {
	case "ACTION":
		e.Action = value
	case "DEVPATH":
		e.Devpath = value
	case "SUBSYSTEM":
		e.Subsystem = value
	case "DEVTYPE":
		e.Devtype = value
	case "DEVNAME":
		e.Devname = value
	case "DRIVER":
		e.Driver = value
	case "MODALIAS":
		e.Modalias = value
	case "PARTNAME":
		e.Partname = value
	case "PARTN":
		e.Partn, err = strconv.Atoi(value)
	case "MAJOR":
		e.Major, err = strconv.Atoi(value)
	case "MINOR":
		e.Minor, err = strconv.Atoi(value)
	case "SEQNUM":
		e.Seqnum, err = strconv.ParseUint(value, 10, 64)
	}
	return err
}
