// Package modules loads kernel modules: by name, by alias, for every device that
// is there, and for every device that the kernel announces. It also answers as
// modprobe(8) when the kernel calls for a module by itself.
//
// It promises that a module is loaded once, after what it depends on, however
// many ask for it at the same time, and that an error names module and file.
// Which modules belong together is known to package kmod; which ones an image has
// was decided by builder/kernel.
package modules

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// System is what the package needs of the machine.
type System struct {
	Modules string // folder of the running release: /lib/modules/6.12.117+deb13-amd64
	Sys     string // where sysfs is mounted
	Proc    string // where proc is mounted

	// Init gives an open module file to the kernel: finit_module(2).
	Init func(fd int, params string, flags int) error
	// Delete removes a module: delete_module(2).
	Delete func(name string, flags int) error
}

// Running returns the system that this process runs on.
func Running() (System, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return System{}, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return System{
		Modules: filepath.Join("/lib/modules", unix.ByteSliceToString(name.Release[:])),
		Sys:     "/sys",
		Proc:    "/proc",
		Init:    unix.FinitModule,
		Delete:  unix.DeleteModule,
	}, nil
}
