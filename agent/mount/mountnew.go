package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// mountNew mounts a file system. A non-zero exit status is that of a mount.TYPE
// program, which has printed its own message.
func (m *mountCommand) mountNew() (exit int, err error) {
	if m.types == "auto" {
		m.types = ""
	}
	if strings.HasPrefix(m.types, "no") && !m.host.Filesystems()[m.types] && !strings.HasPrefix(m.types, "none") {
		return 0, &mountError{exitUsage, fmt.Errorf("-t %s: excluding types is not supported: name the type", m.types)}
	}
	if helper := m.helper(m.types); helper != "" {
		return m.runHelper(helper, m.source, m.types)
	}
	source, done, err := m.device()
	if err != nil {
		return 0, err
	}
	if done != nil {
		defer done()
	}
	types := strings.Split(m.types, ",")
	if m.types == "" {
		if types, err = m.probeTypes(source); err != nil {
			return 0, err
		}
	}
	for _, fstype := range types {
		err = m.mountType(source, fstype)
		// Wrong of this type: another of the list may fit.
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	return 0, err
}

// mountType mounts source as one type. A device that refuses to be written is
// mounted read-only, as with mount(8), and that is said.
func (m *mountCommand) mountType(source, fstype string) error {
	flags := m.options.flags(0)
	err := m.host.Mount(source, m.target, fstype, flags, m.options.data)
	if flags&unix.MS_RDONLY == 0 && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)) {
		if err = m.host.Mount(source, m.target, fstype, flags|unix.MS_RDONLY, m.options.data); err == nil {
			fmt.Fprintf(m.stderr, "mount: %s: WARNING: source write-protected, mounted read-only.\n", m.target)
		}
	}
	return err
}

// device returns what mount(2) gets as its source: the device's own name, or a
// loop device for a regular file. done, if not nil, is called after the mount.
func (m *mountCommand) device() (source string, done func(), err error) {
	if !m.wantsDevice() {
		if m.options.loop {
			return "", nil, &mountError{exitUsage, fmt.Errorf("-t %s and -o loop: this type needs no block device", m.types)}
		}
		return m.source, nil, nil
	}
	info, err := m.host.Stat(m.source)
	if err != nil {
		if m.types != "" && !m.options.loop {
			return m.source, nil, nil // let the file system say what it thinks of it
		}
		return "", nil, err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		device, done, err := m.host.AttachLoop(m.source, loopOptions{
			device: m.options.loopDevice, offset: m.options.offset, sizeLimit: m.options.sizeLimit,
			readOnly: m.options.set&unix.MS_RDONLY != 0,
		})
		if err != nil {
			return "", nil, &mountError{exitFailure, fmt.Errorf("failed to setup loop device for %s: %w", m.source, err)}
		}
		return device, done, nil
	case m.options.loop:
		return "", nil, &mountError{exitFailure, fmt.Errorf("failed to setup loop device for %s: it is not a regular file", m.source)}
	case mode&fs.ModeDevice != 0 && !m.noCanonicalize:
		return m.host.Device(m.source), nil, nil
	}
	return m.source, nil, nil
}

// wantsDevice reports whether the source is to be a block device: for a type
// the kernel does not know (yet) it is if it looks like a path.
func (m *mountCommand) wantsDevice() bool {
	if m.types == "" {
		return true
	}
	base, _, _ := strings.Cut(m.types, ",")
	base, _, _ = strings.Cut(base, ".")
	nodev, known := m.host.Filesystems()[base]
	if known {
		return !nodev
	}
	return m.options.loop || strings.Contains(m.source, "/") && !strings.Contains(m.source, ":")
}

// probeTypes finds the type of a source by its superblock. Unlike mount(8) it
// does not go on to try every type the kernel has: drivers are not fed bytes
// that nobody said are theirs.
func (m *mountCommand) probeTypes(source string) ([]string, error) {
	info, err := m.host.Stat(source)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0 {
		return nil, unix.ENOTBLK
	}
	fstype, err := m.host.Probe(source)
	if err != nil {
		return nil, &mountError{exitFailure, fmt.Errorf("read the superblock of %s: %w", source, err)}
	}
	if fstype == "" {
		return nil, &mountError{exitFailure, fmt.Errorf("%s has no file system known here: give its type with -t", source)}
	}
	m.types = fstype // for messages
	return []string{fstype}, nil
}
