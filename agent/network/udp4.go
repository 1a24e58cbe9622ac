package network

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// A DHCP client without an address speaks through a packet socket, so it makes and reads the IP and UDP headers
// itself (RFC 791 section 3.1, RFC 768).

const (
	dhcp4ServerPort = 67
	dhcp4ClientPort = 68

	ip4Header = 20
	udpHeader = 8
	protoUDP  = 17
)

// udp4 wraps payload for sending from from to to. The payload is shorter than 64 KiB minus the headers.
func udp4(payload []byte, from, to netip.AddrPort) []byte {
	b := make([]byte, ip4Header+udpHeader+len(payload))
	src, dst := from.Addr().As4(), to.Addr().As4()
	be := binary.BigEndian

	ip := b[:ip4Header]
	ip[0] = 0x45 // version 4, header of 5 words
	ip[1] = 0xc0 // network control: some switches drop best-effort packets first when they are busy
	be.PutUint16(ip[2:], uint16(len(b)))
	ip[8], ip[9] = 64, protoUDP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	be.PutUint16(ip[10:], ^fold(sum(ip)))

	udp := b[ip4Header:]
	be.PutUint16(udp[0:], from.Port())
	be.PutUint16(udp[2:], to.Port())
	be.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[udpHeader:], payload)
	pseudo := sum(src[:]) + sum(dst[:]) + protoUDP + uint32(len(udp))
	check := ^fold(pseudo + sum(udp))
	if check == 0 {
		check = 0xffff // 0 means: not computed
	}
	be.PutUint16(udp[6:], check)
	return b
}

// sum adds 16-bit words (RFC 1071). It cannot overflow for packets of 64 KiB.
func sum(b []byte) (s uint32) {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

var errNotForUs = errors.New("not a UDP packet for a DHCP client")

// udp4Payload finds the payload of an IP packet to the DHCP client port. Checksums are not looked at: on virtual
// links the sender leaves them to hardware that does not exist.
func udp4Payload(packet []byte) ([]byte, error) {
	be := binary.BigEndian
	if len(packet) < ip4Header || packet[0]>>4 != 4 {
		return nil, errNotForUs
	}
	header, total := int(packet[0]&0xf)*4, int(be.Uint16(packet[2:]))
	fragment := be.Uint16(packet[6:]) & 0x3fff // offset, and the flag for more fragments
	if header < ip4Header || total < header+udpHeader || total > len(packet) || packet[9] != protoUDP || fragment != 0 {
		return nil, errNotForUs
	}
	udp := packet[header:total]
	length := int(be.Uint16(udp[4:]))
	if be.Uint16(udp[2:]) != dhcp4ClientPort || length < udpHeader || length > len(udp) {
		return nil, errNotForUs
	}
	return udp[udpHeader:length], nil
}
