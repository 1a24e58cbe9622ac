package procfs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Socket is a line of /proc/net/tcp, tcp6, udp or udp6.
type Socket struct {
	Address netip.AddrPort // its own
	Inode   string
}

// waiting are the states of sockets that wait for anybody: of TCP those that
// listen, of UDP those that are connected to nobody.
var waiting = map[string]string{"tcp": "0A", "udp": "07"}

// Waiting are the sockets that wait for anybody, in a table of protocol tcp or udp
// (proc_pid_net(5)). The error is about those that cannot be read; the others are
// returned all the same.
func Waiting(protocol, table string) (sockets []Socket, err error) {
	var errs []error
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[3] != waiting[protocol] {
			continue
		}
		address, err := socketAddress(fields[1])
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", line, err))
			continue
		}
		sockets = append(sockets, Socket{address, fields[9]})
	}
	return sockets, errors.Join(errs...)
}

// socketAddress reads an address as the kernel prints it: words of four bytes in
// the machine's order, which is little-endian on all that skerry runs on.
func socketAddress(text string) (a netip.AddrPort, err error) {
	address, number, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(address)
	if err != nil {
		return a, err
	}
	for word := range slices.Chunk(bytes, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return a, fmt.Errorf("%d bytes are no address", len(bytes))
	}
	port, err := strconv.ParseUint(number, 16, 16)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), err
}
