package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// systemSockets opens real sockets.
type systemSockets struct{}

var _ sockets = systemSockets{}

// broadcast4 is a packet socket that hears UDP to port 68 on one link.
type broadcast4 struct {
	file *os.File // in the runtime's poller: Close ends a Read
	to   unix.SockaddrLinklayer
}

// dhcp4Filter lets unfragmented UDP to the client port through, on a socket whose packets begin with the IP header.
// Without it every packet of every pod would wake the agent while it asks for an address.
func dhcp4Filter() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipFalse: 6},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: dhcp4ClientPort, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
}

func (systemSockets) DHCP4(l link) (packetConn, error) {
	filter, err := dhcp4Filter()
	if err != nil {
		return nil, err
	}
	// Protocol 0: nothing arrives before the filter is in place and bind names the protocol.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket for DHCP on %s: %w", l.name, err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("filter the packet socket for DHCP on %s: %w", l.name, err)
	}
	proto := uint16(unix.ETH_P_IP)
	address := unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: l.index}
	if nativeBigEndian() {
		address.Protocol = proto
	}
	if err := unix.Bind(fd, &address); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind the packet socket for DHCP to %s: %w", l.name, err)
	}
	address.Halen = 6
	copy(address.Addr[:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return &broadcast4{file: os.NewFile(uintptr(fd), "dhcp-"+l.name), to: address}, nil
}

func nativeBigEndian() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 0
}

func (c *broadcast4) Send(b []byte) error {
	packet := udp4(b, netip.AddrPortFrom(netip.IPv4Unspecified(), dhcp4ClientPort),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcp4ServerPort))
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = unix.Sendto(int(fd), packet, 0, &c.to) }); err != nil {
		return err
	}
	return sendErr
}

func (c *broadcast4) Read(b []byte) (int, error) {
	packet := make([]byte, len(b)+60+udpHeader)
	for {
		n, err := c.file.Read(packet)
		if err != nil {
			return 0, err
		}
		if payload, err := udp4Payload(packet[:n]); err == nil {
			return copy(b, payload), nil
		}
	}
}

func (c *broadcast4) Close() error { return c.file.Close() }

// udpConn is a UDP socket on one link that sends to one place.
type udpConn struct {
	*net.UDPConn
	to netip.AddrPort
}

func (c udpConn) Send(b []byte) error {
	_, err := c.WriteToUDPAddrPort(b, c.to)
	return err
}

func listenUDP(l link, network string, from, to netip.AddrPort) (packetConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) {
			if optErr = unix.BindToDevice(int(fd), l.name); optErr == nil {
				optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}
		})
		if err != nil {
			return err
		}
		return optErr
	}}
	c, err := config.ListenPacket(context.Background(), network, from.String())
	if err != nil {
		return nil, fmt.Errorf("listen for DHCP answers on %s: %w", l.name, err)
	}
	return udpConn{UDPConn: c.(*net.UDPConn), to: to}, nil
}

func (systemSockets) DHCP4Unicast(l link, from, to netip.Addr) (packetConn, error) {
	return listenUDP(l, "udp4", netip.AddrPortFrom(from, dhcp4ClientPort), netip.AddrPortFrom(to, dhcp4ServerPort))
}

const (
	dhcp6ClientPort = 546
	dhcp6ServerPort = 547
)

// allDHCP6 is All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
var allDHCP6 = netip.MustParseAddr("ff02::1:2")

func (systemSockets) DHCP6(l link) (packetConn, error) {
	// Bound to the link and not to an address: the link-local one is tentative for the first second or two.
	return listenUDP(l, "udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), dhcp6ClientPort),
		netip.AddrPortFrom(allDHCP6.WithZone(l.name), dhcp6ServerPort))
}

// exchange sends msg once and waits for the first packet that accept takes, up to wait. It returns errNoAnswer when
// that time is over, and errKicked when kick fires. A socket that cannot be opened or does not send counts as no
// answer, after the same wait: a link that is down must not make its client spin.
func exchange(ctx context.Context, open func() (packetConn, error), msg []byte, wait time.Duration,
	kick <-chan struct{}, accept func([]byte) bool) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var packets <-chan []byte
	conn, openErr := open()
	if openErr == nil {
		stop := make(chan struct{})
		packets = pump(conn, stop)
		defer func(packets <-chan []byte) {
			close(stop)
			conn.Close()
			drain(packets) // until the reader has ended
		}(packets)
		openErr = conn.Send(msg)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-kick:
			return errKicked
		case <-timer.C:
			if openErr != nil {
				return fmt.Errorf("%w: %w", errNoAnswer, openErr)
			}
			return errNoAnswer
		case p, ok := <-packets:
			if !ok {
				packets = nil
				continue
			}
			if accept(p) {
				return nil
			}
		}
	}
}

// maxPacket is the largest DHCP message looked at. Links have 1500 bytes; servers do not fragment.
const maxPacket = 4096

// pump reads packets until the connection is closed or fails.
func pump(conn packetConn, stop <-chan struct{}) <-chan []byte {
	packets := make(chan []byte)
	go func() {
		defer close(packets)
		buf := make([]byte, maxPacket)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			select {
			case packets <- append([]byte(nil), buf[:n]...):
			case <-stop:
				return
			}
		}
	}()
	return packets
}
