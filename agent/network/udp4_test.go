package network

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
)

func toClient(payload []byte) []byte {
	return udp4(payload, netip.MustParseAddrPort("192.0.2.1:67"), netip.MustParseAddrPort("255.255.255.255:68"))
}

func TestPacketHeadersAreWhatOthersRead(t *testing.T) {
	for _, payload := range [][]byte{nil, {1}, []byte("even"), []byte("odd"), bytes.Repeat([]byte{0xff}, 1400)} {
		b := toClient(payload)
		h, err := ipv4.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if h.Version != 4 || h.Len != 20 || h.TotalLen != len(b) || h.Protocol != 17 || h.TTL != 64 ||
			h.Src.String() != "192.0.2.1" || h.Dst.String() != "255.255.255.255" {
			t.Errorf("header %v", h)
		}
		// RFC 1071: the sum over everything with its checksum is all ones.
		if s := fold(sum(b[:20])); s != 0xffff {
			t.Errorf("header checksum: sum is %#x", s)
		}
		udp := b[20:]
		if s := fold(sum(b[12:20]) + 17 + uint32(len(udp)) + sum(udp)); s != 0xffff {
			t.Errorf("UDP checksum of %d bytes: sum is %#x", len(payload), s)
		}
		got, err := udp4Payload(append(b, 0, 0, 0)) // Ethernet pads
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("payload %x, %v, want %x", got, err, payload)
		}
	}
	// The example of RFC 1071 section 3.
	if s := fold(sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7})); s != 0xddf2 {
		t.Errorf("sum is %#x, want 0xddf2", s)
	}
}

// strays are packets that are not for a DHCP client.
func strays() map[string][]byte {
	edit := func(change func(b []byte)) []byte { b := toClient([]byte("payload")); change(b); return b }
	return map[string][]byte{
		"TCP":             edit(func(b []byte) { b[9] = 6 }),
		"another port":    edit(func(b []byte) { binary.BigEndian.PutUint16(b[22:], 69) }),
		"later fragment":  edit(func(b []byte) { b[7] = 1 }),
		"first fragment":  edit(func(b []byte) { b[6] = 0x20 }),
		"port in options": edit(func(b []byte) { b[0] = 0x46; b[22], b[23] = 0, 68; b[26], b[27] = 0, 69 }),
	}
}

func TestStrayPacketsAreDropped(t *testing.T) {
	filter, err := dhcp4Filter()
	if err != nil {
		t.Fatal(err)
	}
	instructions, ok := bpf.Disassemble(filter)
	if !ok {
		t.Fatal("the filter does not disassemble")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := vm.Run(toClient([]byte("payload"))); err != nil || n == 0 {
		t.Errorf("the filter takes %d bytes of a good packet, %v", n, err)
	}
	for name, b := range strays() {
		if n, err := vm.Run(b); err != nil || n != 0 {
			t.Errorf("%s: the filter takes %d bytes, %v", name, n, err)
		}
		if p, err := udp4Payload(b); err == nil {
			t.Errorf("%s: payload %q", name, p)
		}
	}
	short := toClient([]byte("payload"))
	for n := range short {
		if _, err := udp4Payload(short[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(short))
		}
	}
}

func FuzzUDP4Payload(f *testing.F) {
	f.Add(toClient([]byte("payload")))
	for _, b := range strays() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := udp4Payload(b); err == nil && len(p) > len(b)-ip4Header-udpHeader {
			t.Errorf("%d bytes of payload in a packet of %d", len(p), len(b))
		}
	})
}
