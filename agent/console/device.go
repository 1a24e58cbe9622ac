package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a console of the kernel.
type Device struct {
	Path     string
	Terminal bool // a virtual terminal: a screen that can be drawn on
}

// Find returns the consoles the kernel writes to, from active
// (/sys/class/tty/console/active) and below dev (/dev). Where active cannot be
// read or is empty it is dev/console, which may be anything and is written to
// as a serial line.
func Find(active, dev string) []Device {
	list, _ := os.ReadFile(active) // no list: no sysfs, or a kernel without consoles
	var devices []Device
	for _, name := range strings.Fields(string(list)) {
		if strings.ContainsRune(name, '/') {
			continue
		}
		number, isTTY := strings.CutPrefix(name, "tty")
		devices = append(devices, Device{
			Path:     filepath.Join(dev, name),
			Terminal: isTTY && number != "" && strings.Trim(number, "0123456789") == "",
		})
	}
	if len(devices) == 0 {
		devices = []Device{{Path: filepath.Join(dev, "console")}}
	}
	return devices
}

// open opens a console for writing. It becomes nobody's controlling terminal:
// a hangup of the line would otherwise reach PID 1. Non-blocking, so that a
// stopped line parks a goroutine and not a thread.
func open(d Device) (*os.File, error) {
	fd, err := unix.Open(d.Path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open console %s: %w", d.Path, err)
	}
	return os.NewFile(uintptr(fd), d.Path), nil
}

// Sizes of screens, in cells. A terminal that gives none has the classic one.
const (
	defaultWidth, defaultHeight = 80, 25
	minWidth, minHeight         = 20, 3
	maxWidth, maxHeight         = 500, 200
)

func screenSize(file *os.File) (width, height int) {
	conn, err := file.SyscallConn()
	if err != nil {
		return defaultWidth, defaultHeight
	}
	var size *unix.Winsize
	if cerr := conn.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) }); cerr != nil || err != nil {
		return defaultWidth, defaultHeight
	}
	return clampSize(int(size.Col), int(size.Row))
}

func clampSize(width, height int) (int, int) {
	if width == 0 || height == 0 {
		return defaultWidth, defaultHeight
	}
	return min(max(width, minWidth), maxWidth), min(max(height, minHeight), maxHeight)
}
