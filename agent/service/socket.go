package service

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// message is a notification and who sent it.
type message struct {
	pid int
	notification
}

// listenNotify makes the notification socket of one service. Only its owner
// may send (mode 0600), and the kernel tells the sender's id (SO_PASSCRED).
func listenNotify(dir, name string) (*net.UnixConn, error) {
	// Nobody else may look inside: between bind and chmod the socket has the
	// mode of our umask.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("notification socket of %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notification socket of %s: %w", name, err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("notification socket of %s: %w", name, err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, set, os.Chmod(path, 0o600))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("notification socket of %s: %w", name, err)
	}
	return conn, nil
}

// receive passes messages on until the socket is closed or nobody reads any
// more.
func receive(conn *net.UnixConn, out chan<- message, done <-chan struct{}) {
	buf := make([]byte, maxDatagram)
	// Room for the sender's id and some descriptors; the kernel closes those
	// beyond.
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(16*4))
	for {
		n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		pid := sender(oob[:oobn])
		if pid == 0 || flags&unix.MSG_TRUNC != 0 {
			continue
		}
		select {
		case out <- message{pid, parseNotification(buf[:n])}:
		case <-done:
			return
		}
	}
}

// sender returns the id of the sending process, or 0. Descriptors that came
// along are closed: FDSTORE is not offered, and closing is what BARRIER=1
// waits for.
func sender(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	pid := 0
	for i := range messages {
		m := &messages[i]
		if m.Header.Level != unix.SOL_SOCKET {
			continue
		}
		switch m.Header.Type {
		case unix.SCM_CREDENTIALS:
			if cred, err := unix.ParseUnixCredentials(m); err == nil {
				pid = int(cred.Pid)
			}
		case unix.SCM_RIGHTS:
			fds, _ := unix.ParseUnixRights(m)
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
	return pid
}
