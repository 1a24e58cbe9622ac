package clock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/beevik/ntp"
)

// Sample is the answer of one time server.
type Sample struct {
	Server       string        // the address that was asked
	Offset       time.Duration // of the server's clock to ours
	RootDistance time.Duration // how wrong Offset may be
}

const (
	queryTimeout = 5 * time.Second
	// maxDistance is how wrong an answer may be by its own account. RFC 5905 has 1.5 s; links by satellite need more.
	maxDistance = 5 * time.Second
	// A name like those of a pool stands for several servers.
	maxAddressesPerName = 4
)

// kissError is a server's request not to be asked (RFC 5905 section 7.4).
type kissError struct{ code string }

func (e kissError) Error() string { return "the server asks to be left alone: " + e.code }

// resolve returns the addresses, with ports, of a server.
func resolve(ctx context.Context, server string) ([]string, error) {
	if a, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		return []string{netip.AddrPortFrom(a, 123).String()}, nil
	}
	if _, err := netip.ParseAddrPort(server); err == nil {
		return []string{server}, nil
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = server, "123"
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up time server %s: %w", host, err)
	}
	var list []string
	for _, a := range found[:min(len(found), maxAddressesPerName)] {
		list = append(list, net.JoinHostPort(a.Unmap().String(), port))
	}
	return list, nil
}

// query asks one address for the time. Answers that make no sense are errors.
func query(ctx context.Context, address string) (Sample, error) {
	stop := func() bool { return true }
	response, err := ntp.QueryWithOptions(address, ntp.QueryOptions{
		Timeout: queryTimeout,
		Dialer: func(_, remote string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", remote)
			if err == nil {
				stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
	})
	stop()
	if err != nil {
		return Sample{}, fmt.Errorf("ask time server %s: %w", address, err)
	}
	if response.IsKissOfDeath() {
		return Sample{}, fmt.Errorf("ask time server %s: %w", address, kissError{response.KissCode})
	}
	if err := response.Validate(); err != nil {
		return Sample{}, fmt.Errorf("time server %s: %w", address, err)
	}
	if response.RootDistance < 0 || response.RootDistance > maxDistance {
		return Sample{}, fmt.Errorf("time server %s may be wrong by %s", address, response.RootDistance)
	}
	return Sample{Server: address, Offset: response.ClockOffset, RootDistance: response.RootDistance}, nil
}

var errNoSample = errors.New("no time server answers")

// choose picks the sample to believe: the one with the least root distance among those that agree with the most
// others. Each sample says that the true offset is in an interval around its own; the point in most intervals is
// where the truth is, as long as most servers are right (the intersection algorithm of RFC 5905 section 11.2.1).
func choose(samples []Sample) (Sample, error) {
	// Less than this is asymmetry of the path, which no server knows of.
	const slack = 10 * time.Millisecond
	contains := func(s Sample, point time.Duration) bool {
		return (s.Offset - point).Abs() <= s.RootDistance+slack
	}
	var best Sample
	votes := 0
	for _, edge := range samples {
		// The point in most intervals can be taken to be the left end of one of them.
		point := edge.Offset - edge.RootDistance - slack
		n := 0
		var closest Sample
		for _, s := range samples {
			if contains(s, point) {
				if n == 0 || s.RootDistance < closest.RootDistance {
					closest = s
				}
				n++
			}
		}
		if n > votes || (n == votes && closest.RootDistance < best.RootDistance) {
			best, votes = closest, n
		}
	}
	if votes == 0 {
		return Sample{}, errNoSample
	}
	return best, nil
}
