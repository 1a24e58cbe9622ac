package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type loopOptions struct {
	device            string // the loop device to use, or any
	offset, sizeLimit uint64 // bytes; sizeLimit 0 is to the end of the file
	readOnly          bool
	onlyExisting      bool // make no new device
}

// AttachLoop implements host. The device frees itself after its last user
// (LO_FLAGS_AUTOCLEAR). A device that shows the same bytes already is used
// again, as two of them would each keep their own, diverging cache; one that
// shows some of the same bytes otherwise is an error.
func (Linux) AttachLoop(path string, o loopOptions) (string, func(), error) {
	backing, err := os.OpenFile(path, os.O_RDWR, 0)
	if o.readOnly || errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ETXTBSY) {
		if err == nil {
			backing.Close()
		}
		o.readOnly = true
		backing, err = os.Open(path)
	}
	if err != nil {
		return "", nil, err
	}
	defer backing.Close()
	loop, err := sharedLoop(backing, o)
	if err == nil && loop == nil && o.onlyExisting {
		err = fs.ErrNotExist
	}
	if err != nil || loop != nil {
		return doneLoop(loop, err)
	}
	// Between asking for a free number and taking it another process may have
	// taken it: ask again.
	for range 64 {
		name := o.device
		if name == "" {
			if name, err = freeLoop(); err != nil {
				return "", nil, err
			}
		}
		loop, err = configureLoop(name, backing, o)
		if err == nil || o.device != "" || !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return doneLoop(loop, err)
}

func doneLoop(loop *os.File, err error) (string, func(), error) {
	if err != nil {
		return "", nil, err
	}
	return loop.Name(), func() { loop.Close() }, nil
}

func freeLoop() (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("%w: is the module loop loaded?", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("find a free loop device: %w", err)
	}
	return "/dev/loop" + strconv.Itoa(number), nil
}

func configureLoop(name string, backing *os.File, o loopOptions) (*os.File, error) {
	mode := os.O_RDWR
	config := unix.LoopConfig{
		Fd: uint32(backing.Fd()),
		Info: unix.LoopInfo64{
			Offset: o.offset, Sizelimit: o.sizeLimit,
			Flags: unix.LO_FLAGS_AUTOCLEAR,
		},
	}
	if o.readOnly {
		mode = os.O_RDONLY
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	loop, err := os.OpenFile(name, mode, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		loop.Close()
		return nil, fmt.Errorf("put %s on %s: %w", name, backing.Name(), err)
	}
	return loop, nil
}

// sharedLoop opens the loop device that shows what o wants of backing already.
func sharedLoop(backing *os.File, o loopOptions) (*os.File, error) {
	var want unix.Stat_t
	if err := unix.Fstat(int(backing.Fd()), &want); err != nil {
		return nil, err
	}
	used, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, err
	}
	for _, dir := range used {
		name := "/dev/" + filepath.Base(filepath.Dir(dir))
		loop, err := os.Open(name)
		if err != nil {
			continue
		}
		status, err := unix.IoctlLoopGetStatus64(int(loop.Fd()))
		switch {
		case err != nil || status.Device != want.Dev || status.Inode != want.Ino || !overlap(status.Offset, status.Sizelimit, o.offset, o.sizeLimit):
			loop.Close()
			continue
		case status.Offset == o.offset && status.Sizelimit == o.sizeLimit && (o.device == "" || o.device == name):
			if status.Flags&unix.LO_FLAGS_READ_ONLY == 0 || o.readOnly {
				return loop, nil
			}
		case status.Flags&unix.LO_FLAGS_READ_ONLY != 0 && o.readOnly:
			loop.Close()
			continue // two readers see the same
		}
		loop.Close()
		return nil, fmt.Errorf("%s shows the same part of %s already: unmount it first", name, strings.TrimSpace(backing.Name()))
	}
	return nil, nil
}

// overlap reports whether two ranges of a file share bytes; size 0 is to the
// end.
func overlap(offset1, size1, offset2, size2 uint64) bool {
	return (size2 == 0 || offset1 < offset2+size2) && (size1 == 0 || offset2 < offset1+size1)
}

// Device implements host. A device-mapper device is called by its name, as
// mount(8) shows it, not by its number.
func (Linux) Device(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path
	}
	if base := filepath.Base(real); strings.HasPrefix(base, "dm-") {
		if name, err := os.ReadFile("/sys/block/" + base + "/dm/name"); err == nil {
			mapped := "/dev/mapper/" + strings.TrimSpace(string(name))
			if _, err := os.Stat(mapped); err == nil {
				return mapped
			}
		}
	}
	return real
}
