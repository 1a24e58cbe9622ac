package dm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Layout of struct dm_ioctl and struct dm_target_spec; the test asks a C
// compiler for the same numbers.
const (
	headerBytes = 312
	atDataSize  = 12
	atDataStart = 16
	atTargets   = 20
	atOpenCount = 24
	atFlags     = 28
	atDev       = 40
	atName      = 48
	atUUID      = 176
	nameBytes   = 128
	uuidBytes   = 129

	specBytes = 40
	atLength  = 8
	atNext    = 20
	atType    = 24
	typeBytes = 16
)

// The version sent with each command: the oldest interface that has all we
// use. The kernel accepts any minor version up to its own.
const (
	versionMajor = 4
	versionMinor = 27 // deferred removal
)

// Commands, _IOWR(0xfd, n, struct dm_ioctl).
const (
	cmdVersion     = 0xc138fd00
	cmdCreate      = 0xc138fd03
	cmdRemove      = 0xc138fd04
	cmdSuspend     = 0xc138fd06
	cmdStatus      = 0xc138fd07
	cmdTableLoad   = 0xc138fd09
	cmdTableStatus = 0xc138fd0c
)

const (
	flagReadOnly       = 1 << 0
	flagSuspend        = 1 << 1
	flagActivePresent  = 1 << 5
	flagBufferFull     = 1 << 8
	flagDeferredRemove = 1 << 17
)

// statusBytes is room for the status of some targets; verity's takes two bytes.
const statusBytes = 4096

// order is that of the machine. All boards are little endian.
var order = binary.LittleEndian

// header is the part of struct dm_ioctl that is sent.
type header struct {
	name, uuid string
	flags      uint32
	targets    uint32
}

func (h *header) encode(payload []byte) ([]byte, error) {
	if len(h.name) >= nameBytes || len(h.uuid) >= uuidBytes {
		return nil, fmt.Errorf("name %q or uuid %q: longer than %d or %d bytes", h.name, h.uuid, nameBytes-1, uuidBytes-1)
	}
	b := make([]byte, headerBytes+len(payload))
	order.PutUint32(b[0:], versionMajor)
	order.PutUint32(b[4:], versionMinor)
	order.PutUint32(b[atDataSize:], uint32(len(b)))
	order.PutUint32(b[atDataStart:], headerBytes)
	order.PutUint32(b[atTargets:], h.targets)
	order.PutUint32(b[atFlags:], h.flags)
	copy(b[atName:], h.name)
	copy(b[atUUID:], h.uuid)
	copy(b[headerBytes:], payload)
	return b, nil
}

func encodeTargets(table []Target) ([]byte, error) {
	var b []byte
	for _, t := range table {
		if len(t.Type) >= typeBytes {
			return nil, fmt.Errorf("target type %q is longer than %d bytes", t.Type, typeBytes-1)
		}
		// The parameters end in a zero byte, and the next target is aligned to 8.
		next := (specBytes + len(t.Params) + 1 + 7) &^ 7
		spec := make([]byte, next)
		order.PutUint64(spec, uint64(t.Start))
		order.PutUint64(spec[atLength:], uint64(t.Length))
		order.PutUint32(spec[atNext:], uint32(next))
		copy(spec[atType:], t.Type)
		copy(spec[specBytes:], t.Params)
		b = append(b, spec...)
	}
	return b, nil
}

func version(b []byte) (major, minor, patch uint32) {
	return order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
}

func decodeDevice(b []byte) Device {
	flags, dev := order.Uint32(b[atFlags:]), order.Uint64(b[atDev:])
	return Device{
		Name:      text(b[atName:][:nameBytes]),
		Major:     unix.Major(dev),
		Minor:     unix.Minor(dev),
		OpenCount: int(int32(order.Uint32(b[atOpenCount:]))),
		ReadOnly:  flags&flagReadOnly != 0,
		Suspended: flags&flagSuspend != 0,
		Active:    flags&flagActivePresent != 0,
	}
}

// decodeTargets reads what DM_TABLE_STATUS returns. Unlike in a table that is
// sent, next counts from the first target.
func decodeTargets(b []byte) ([]Target, error) {
	if order.Uint32(b[atFlags:])&flagBufferFull != 0 {
		return nil, fmt.Errorf("the kernel's answer is longer than %d bytes", len(b))
	}
	start, count := int(order.Uint32(b[atDataStart:])), int(order.Uint32(b[atTargets:]))
	if start < headerBytes || start > len(b) {
		return nil, fmt.Errorf("data at offset %d of %d bytes", start, len(b))
	}
	data := b[start:]
	var targets []Target
	for at := 0; len(targets) < count; {
		if at < 0 || at+specBytes > len(data) {
			return nil, fmt.Errorf("target %d at offset %d of %d bytes", len(targets), at, len(data))
		}
		spec := data[at:]
		targets = append(targets, Target{
			Start:  Sectors(order.Uint64(spec)),
			Length: Sectors(order.Uint64(spec[atLength:])),
			Type:   text(spec[atType:][:typeBytes]),
			Params: text(spec[specBytes:]),
		})
		next := int(order.Uint32(spec[atNext:]))
		if next <= at && len(targets) < count {
			return nil, fmt.Errorf("target %d points back to offset %d", len(targets)-1, next)
		}
		at = next
	}
	return targets, nil
}

// text is a C string in a fixed field.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
