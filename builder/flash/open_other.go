//go:build !linux

package flash

import (
	"errors"
	"io"
)

// OpenDevice fails: what keeps it from writing to the wrong disk needs Linux.
func OpenDevice(string, bool) (interface {
	Device
	io.Closer
}, error) {
	return nil, errNotLinux
}

// System is where disks are looked for.
type System struct{}

// NewSystem returns the machine that this runs on.
func NewSystem() *System { return &System{} }

// List fails.
func (*System) List() ([]Disk, error) { return nil, errNotLinux }

// Find fails.
func (*System) Find(string) (Disk, error) { return Disk{}, errNotLinux }

var errNotLinux = errors.New("disks can be listed and written on Linux only: use Raspberry Pi Imager or dd here")
