// Package lan is an Ethernet segment for virtual machines on one host, without
// root: a hub on a unix socket. QEMU speaks its protocol as `-netdev stream`: each
// frame has its length before it, four bytes, big endian.
package lan

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

const (
	// maxFrame is more than QEMU sends: a segment that a guest's card has not
	// cut up yet.
	maxFrame = 128 << 10
	// waiting is how many frames a machine may be behind until it loses some, as
	// on a wire.
	waiting = 512
)

// Hub passes what each machine sends to all others.
type Hub struct {
	listener net.Listener

	mu       sync.Mutex
	machines map[*machine]struct{}
	stopped  sync.WaitGroup
}

// machine is one on the segment.
type machine struct {
	conn  net.Conn
	queue chan []byte // of frames for it
}

// ErrExists is that the segment is there already: another hub serves it.
var ErrExists = errors.New("the network exists")

// Listen makes the segment that machines find at the path, and serves it until
// Close. What a hub that did not end in order left there is replaced.
func Listen(path string) (*Hub, error) {
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, err := net.Dial("unix", path); err == nil {
			conn.Close()
			return nil, fmt.Errorf("%s: %w", path, ErrExists)
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("network of machines: %w", err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("network of machines: %w", err)
		}
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("network of machines: %w", err)
	}
	h := &Hub{listener: listener, machines: map[*machine]struct{}{}}
	h.stopped.Go(h.accept)
	return h, nil
}

// Close ends the segment and removes its socket.
func (h *Hub) Close() error {
	err := h.listener.Close()
	h.mu.Lock()
	for m := range h.machines {
		h.leave(m)
	}
	h.mu.Unlock()
	h.stopped.Wait()
	return err
}

func (h *Hub) accept() {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			return
		}
		m := &machine{conn, make(chan []byte, waiting)}
		h.mu.Lock()
		h.machines[m] = struct{}{}
		h.mu.Unlock()
		h.stopped.Go(func() { h.receive(m) })
		h.stopped.Go(func() { send(m) })
	}
}

// leave takes a machine off, under the lock.
func (h *Hub) leave(m *machine) {
	if _, there := h.machines[m]; there {
		delete(h.machines, m)
		close(m.queue)
		m.conn.Close()
	}
}

// receive passes a machine's frames on until it is gone.
func (h *Hub) receive(from *machine) {
	in := bufio.NewReaderSize(from.conn, maxFrame)
	for {
		frame, err := readFrame(in)
		h.mu.Lock()
		if err != nil {
			h.leave(from)
			h.mu.Unlock()
			return
		}
		for m := range h.machines {
			if m == from {
				continue
			}
			select {
			case m.queue <- frame:
			default:
			}
		}
		h.mu.Unlock()
	}
}

// send gives a machine the frames of the others.
func send(to *machine) {
	for frame := range to.queue {
		if _, err := to.conn.Write(frame); err != nil {
			return // receive sees it too
		}
	}
}

// readFrame reads a frame with its length before it.
func readFrame(in io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, len(length)+int(n))
	copy(frame, length[:])
	_, err := io.ReadFull(in, frame[len(length):])
	return frame, err
}
