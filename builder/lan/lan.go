// Package lan is an Ethernet segment for virtual machines on one host, without
// root: a switch on a unix socket. QEMU speaks its protocol as `-netdev stream`:
// each frame has its length before it, four bytes, big endian.
package lan

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// maxFrame is more than QEMU sends: a segment that a guest's card has not
	// cut up yet.
	maxFrame = 128 << 10
	// headBytes are the length before a frame, and its two addresses.
	lengthBytes = 4
	headBytes   = lengthBytes + 2*6
	// maxAddresses bounds what a machine that makes up addresses can have learnt.
	maxAddresses = 64
	// waiting is how many frames a machine may be behind until it loses some, as
	// on a wire.
	waiting = 512
	// acceptAgain is how long to wait when no machine can be taken on, as for
	// want of file descriptors.
	acceptAgain = 100 * time.Millisecond
)

// Switch passes frames on to the machine that has their address.
type Switch struct {
	listener net.Listener

	mu       sync.Mutex
	closed   bool
	machines map[*machine]struct{}
	places   map[address]*machine // where each address was seen last
	stopped  sync.WaitGroup
}

// address is a MAC address.
type address [6]byte

// group tells whether it means several machines (IEEE 802, 8.2).
func (a address) group() bool { return a[0]&1 == 1 }

// machine is one on the segment.
type machine struct {
	conn      net.Conn
	queue     chan []byte // of frames for it
	addresses int         // learnt from it
}

// ErrExists is that the segment is there already: another switch serves it.
var ErrExists = errors.New("the network exists")

// Listen makes the segment that machines find at the path, and serves it until
// Close. The socket that a switch left which did not end in order is replaced,
// and nothing else. Callers see to it that one of them does so at a time.
func Listen(path string) (*Switch, error) {
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("network of machines: %w", err)
	}
	s := &Switch{listener: listener, machines: map[*machine]struct{}{}, places: map[address]*machine{}}
	s.stopped.Go(s.accept)
	return s, nil
}

func listen(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%s exists and is no socket: choose a name that is not taken", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrExists)
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// Close ends the segment and removes its socket.
func (s *Switch) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for m := range s.machines {
		s.leave(m)
	}
	s.mu.Unlock()
	s.stopped.Wait()
	return err
}

func (s *Switch) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptAgain)
			continue
		}
		if m := s.join(conn); m != nil {
			s.stopped.Go(func() { s.receive(m) })
			s.stopped.Go(func() { send(m) })
		}
	}
}

// join takes a machine on. It is nil if the segment has ended meanwhile: Close
// would wait for that machine for ever.
func (s *Switch) join(conn net.Conn) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil
	}
	m := &machine{conn: conn, queue: make(chan []byte, waiting)}
	s.machines[m] = struct{}{}
	return m
}

// leave takes a machine off, under the lock.
func (s *Switch) leave(m *machine) {
	if _, there := s.machines[m]; there {
		delete(s.machines, m)
		maps.DeleteFunc(s.places, func(_ address, at *machine) bool { return at == m })
		close(m.queue)
		m.conn.Close()
	}
}

// receive passes a machine's frames on until it is gone.
func (s *Switch) receive(from *machine) {
	in := bufio.NewReaderSize(from.conn, maxFrame)
	for {
		frame, err := readFrame(in)
		s.mu.Lock()
		if err != nil {
			s.leave(from)
			s.mu.Unlock()
			return
		}
		s.pass(from, frame)
		s.mu.Unlock()
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

// pass queues a frame for the machine that it is for, or for all others, under
// the lock. One for an address that nobody has sent from is for nobody: QEMU's way
// out would take it for its own.
func (s *Switch) pass(from *machine, frame []byte) {
	to, source := address(frame[lengthBytes:]), address(frame[lengthBytes+len(address{}):])
	if at := s.places[source]; at != from && from.addresses < maxAddresses {
		if at != nil {
			at.addresses--
		}
		s.places[source] = from
		from.addresses++
	}
	for m := range s.machines {
		if m == from || !to.group() && s.places[to] != m {
			continue
		}
		select {
		case m.queue <- frame:
		default:
		}
	}
}

// readFrame reads a frame with its length before it.
func readFrame(in io.Reader) ([]byte, error) {
	var length [lengthBytes]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame || n < headBytes-lengthBytes {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, len(length)+int(n))
	copy(frame, length[:])
	_, err := io.ReadFull(in, frame[len(length):])
	return frame, err
}
