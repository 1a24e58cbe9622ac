package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// lease4 is what a DHCPv4 server granted.
type lease4 struct {
	address     netip.Prefix
	server      netip.Addr
	routes      []leaseRoute
	nameservers []netip.Addr
	search      []string
	ntp         []netip.Addr
	mtu         int // 0: none given

	obtained         time.Time // when the request was sent, on the monotonic clock
	t1, t2, lifetime time.Duration
}

// leaseRoute is a route of a lease.
type leaseRoute struct {
	dst     netip.Prefix
	gateway netip.Addr // invalid: on the link
}

func (l *lease4) at(d time.Duration) time.Time { return l.obtained.Add(d) }

// parseLease4 reads an offer or an acknowledgement. What a server may leave out is replaced by something that works;
// an address no host can have is an error.
func parseLease4(m *dhcpv4.DHCPv4) (*lease4, error) {
	ip, ok := netip.AddrFromSlice(m.YourIPAddr)
	if !ok || !unicast(ip) {
		return nil, fmt.Errorf("DHCP server gives the address %s, which no host can have", m.YourIPAddr)
	}
	server, ok := netip.AddrFromSlice(m.ServerIdentifier())
	if !ok || !unicast(server) {
		return nil, errors.New("DHCP server does not say its own address (option 54)")
	}
	l := &lease4{
		address: netip.PrefixFrom(ip, maskBits(m.SubnetMask(), ip)), server: server,
		nameservers: unicasts(m.DNS()), ntp: unicasts(m.NTPServers()), mtu: leaseMTU(m),
	}
	if labels := m.DomainSearch(); labels != nil {
		l.search = labels.Labels
	}
	// The domain name comes first: it is the one the host's own name is in.
	l.search = domains(append([]string{m.DomainName()}, l.search...))
	l.routes = leaseRoutes(m, l.address)
	l.t1, l.t2, l.lifetime = leaseTimes(m.IPAddressRenewalTime(0), m.IPAddressRebindingTime(0),
		m.IPAddressLeaseTime(time.Hour), 4, 7)
	return l, nil
}

// maskBits is the prefix length of option 1. Without a usable one it is that of the address's class, which is what
// hosts have assumed since before there was the option.
func maskBits(mask net.IPMask, ip netip.Addr) int {
	if ones, size := mask.Size(); size == 32 && ones > 0 {
		return ones
	}
	switch first := ip.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	default:
		return 24
	}
}

// leaseMTU is option 26. IPv6 stops on a link with less than 1280, so less is ignored.
func leaseMTU(m *dhcpv4.DHCPv4) int {
	raw := m.Options.Get(dhcpv4.OptionInterfaceMTU)
	if len(raw) != 2 {
		return 0
	}
	if mtu := int(raw[0])<<8 | int(raw[1]); mtu >= 1280 {
		return mtu
	}
	return 0
}

// leaseRoutes are the classless routes (option 121), and only without them the routers (option 3): RFC 3442 section
// "DHCP Client Behavior".
func leaseRoutes(m *dhcpv4.DHCPv4, own netip.Prefix) (routes []leaseRoute) {
	for _, r := range m.ClasslessStaticRoute() {
		base, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		bits, _ := r.Dest.Mask.Size()
		gateway, gatewayOK := netip.AddrFromSlice(r.Router.To4())
		if !ok || !gatewayOK || len(routes) == maxListed {
			continue
		}
		dst := netip.PrefixFrom(base, bits).Masked()
		if dst.Bits() > 0 && !unicast(dst.Addr()) {
			continue
		}
		switch {
		case gateway.IsUnspecified():
			routes = appendNew(routes, leaseRoute{dst: dst})
		case unicast(gateway) && gateway != own.Addr():
			routes = appendNew(routes, leaseRoute{dst: dst, gateway: gateway})
		}
	}
	if len(routes) > 0 {
		return routes
	}
	for _, gateway := range unicasts(m.Router()) {
		if gateway.Is4() && gateway != own.Addr() {
			// One is enough: the kernel would use the first of two with the same metric, and replace it by the second.
			return []leaseRoute{{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway: gateway}}
		}
	}
	return nil
}
