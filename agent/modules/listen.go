package modules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds the events of a machine's start, some thousands of half a
// KiB, while modules are loaded. The kernel takes memory for what is in it only.
const receiveBuffer = 8 << 20

// ErrOverrun says that the kernel dropped events.
var ErrOverrun = errors.New("uevents were lost: too many came at once")

// Listener receives the kernel's uevents.
type Listener struct {
	file   *os.File
	raw    syscall.RawConn
	buffer [MaxUevent]byte
}

// Listen opens the uevent socket. Open it before looking at sysfs, so that no
// device comes between the two.
func Listen() (*Listener, error) {
	l, err := listen()
	if err != nil {
		return nil, fmt.Errorf("listen for uevents: %w", err)
	}
	return l, nil
}

func listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Beyond the limit for everybody, which only root may pass.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	const kernelEvents = 1 // group 2 is udev's
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelEvents}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	file := os.NewFile(uintptr(fd), "uevents")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Listener{file: file, raw: raw}, nil
}

// Receive waits for the next event of the kernel; messages of others and those
// that make no sense are passed over. ErrOverrun means that events are missing
// and that the next call goes on. It must not be called from two goroutines.
func (l *Listener) Receive(ctx context.Context) (Event, error) {
	if err := l.file.SetReadDeadline(time.Time{}); err != nil {
		return Event{}, err
	}
	stop := context.AfterFunc(ctx, func() { l.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		n, flags, from, err := l.receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, ErrOverrun
		case ctx.Err() != nil:
			return Event{}, ctx.Err()
		case err != nil:
			return Event{}, fmt.Errorf("receive uevent: %w", err)
		}
		// Port 0 is the kernel's; no process can have it.
		sender, ok := from.(*unix.SockaddrNetlink)
		if !ok || sender.Pid != 0 || flags&unix.MSG_TRUNC != 0 {
			continue
		}
		if event, err := ParseUevent(l.buffer[:n]); err == nil {
			return event, nil
		}
	}
}

func (l *Listener) receive() (n, flags int, from unix.Sockaddr, err error) {
	waitErr := l.raw.Read(func(fd uintptr) bool {
		for {
			n, _, flags, from, err = unix.Recvmsg(int(fd), l.buffer[:], nil, 0)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if waitErr != nil {
		err = waitErr
	}
	return n, flags, from, err
}

// Close ends listening, and a Receive that waits.
func (l *Listener) Close() error { return l.file.Close() }
