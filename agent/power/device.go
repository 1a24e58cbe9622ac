package power

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openButton opens an input device that can send KEY_POWER; others are
// errNoButton. It is not grabbed (EVIOCGRAB): a keyboard with a power key would
// lose all its keys to the agent.
func openButton(path string) (io.ReadCloser, error) {
	// Non-blocking, so that reads wait in the runtime's poller and Close ends
	// them.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	var keys [keyMax/8 + 1]byte
	if err := eviocgbit(fd, evKey, keys[:]); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ask %s for its keys: %w", path, err)
	}
	if !hasKey(keys[:], keyPower) {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", path, errNoButton)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func hasKey(keys []byte, key int) bool {
	// The kernel's bitmaps are arrays of long; on a little-endian machine bit n
	// is bit n%8 of byte n/8, and both of ours are.
	return keys[key/8]&(1<<(key%8)) != 0
}

// eviocgbit fills bits with the codes of one event type that the device can
// send: EVIOCGBIT(kind, len(bits)) of linux/input.h, _IOC(_IOC_READ, 'E', 0x20 +
// kind, len).
func eviocgbit(fd int, kind uint, bits []byte) error {
	request := uintptr(2<<30 | uint(len(bits))<<16 | 'E'<<8 | (0x20 + kind))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&bits[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// dirWatch tells when something in a directory changed, and when the directory
// itself came to be.
type dirWatch struct {
	dir  string
	file *os.File
	buf  [4096]byte
}

func newDirWatch(dir string) (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &dirWatch{dir: dir, file: os.NewFile(uintptr(fd), "inotify")}
	// The kernel makes /dev/input with the first input device, which may come
	// after us.
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(dir), unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("watch %s: %w", filepath.Dir(dir), err)
	}
	w.follow(fd)
	return w, nil
}

// follow watches the directory itself; watching again what is watched changes
// nothing. Attributes count: a node may be made before it may be opened.
func (w *dirWatch) follow(fd int) {
	_, _ = unix.InotifyAddWatch(fd, w.dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB|unix.IN_DELETE|unix.IN_ONLYDIR)
}

// next waits for a change.
func (w *dirWatch) next() error {
	for {
		n, err := w.file.Read(w.buf[:])
		if err != nil {
			return err
		}
		conn, err := w.file.SyscallConn()
		if err != nil {
			return err
		}
		if err := conn.Control(func(fd uintptr) { w.follow(int(fd)) }); err != nil {
			return err
		}
		if w.concerns(w.buf[:n]) {
			return nil
		}
	}
}

// concerns reports whether events (inotify(7)) are about input devices: /dev
// itself sees terminals and disks come and go all day.
func (w *dirWatch) concerns(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		size := unix.SizeofInotifyEvent + int(event.Len)
		if size > len(events) {
			return true
		}
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:size])
		if event.Mask&unix.IN_Q_OVERFLOW != 0 || name == filepath.Base(w.dir) || len(name) > 5 && name[:5] == "event" {
			return true
		}
		events = events[size:]
	}
	return false
}

func (w *dirWatch) close() { w.file.Close() }
