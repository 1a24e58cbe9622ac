package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

func ack(change func(*dhcpv4.DHCPv4)) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 17)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))))
	if err != nil {
		panic(err)
	}
	if change != nil {
		change(m)
	}
	// Over the wire: what a server cannot send does not count.
	if m, err = dhcpv4.FromBytes(m.ToBytes()); err != nil {
		panic(err)
	}
	return m
}

func routesOf(l *lease4) (list []string) {
	for _, r := range l.routes {
		via := "link"
		if r.gateway.IsValid() {
			via = r.gateway.String()
		}
		list = append(list, fmt.Sprintf("%s via %s", r.dst, via))
	}
	return list
}

func TestLeaseRoutes(t *testing.T) {
	prefix := func(s string) *net.IPNet { _, n, _ := net.ParseCIDR(s); return n }
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	for _, c := range []struct {
		name   string
		change func(*dhcpv4.DHCPv4)
		want   []string
	}{
		{"none", nil, nil},
		{"router", func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(ip("192.0.2.1"), ip("192.0.2.2"))) },
			[]string{"0.0.0.0/0 via 192.0.2.1"}},
		{"router 0.0.0.0", func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(net.IPv4zero)) }, nil},
		{"router is the client", func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(ip("192.0.2.17"))) }, nil},
		{"router outside of the subnet", func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptRouter(ip("198.51.100.1"))) },
			[]string{"0.0.0.0/0 via 198.51.100.1"}},
		{"classless routes override the router", func(m *dhcpv4.DHCPv4) {
			m.UpdateOption(dhcpv4.OptRouter(ip("192.0.2.1")))
			m.UpdateOption(dhcpv4.OptClasslessStaticRoute(
				&dhcpv4.Route{Dest: prefix("10.0.0.0/8"), Router: ip("192.0.2.3")},
				&dhcpv4.Route{Dest: prefix("0.0.0.0/0"), Router: ip("192.0.2.2")},
				&dhcpv4.Route{Dest: prefix("198.51.100.0/24"), Router: net.IPv4zero}))
		}, []string{"10.0.0.0/8 via 192.0.2.3", "0.0.0.0/0 via 192.0.2.2", "198.51.100.0/24 via link"}},
		{"classless routes to nowhere", func(m *dhcpv4.DHCPv4) {
			m.UpdateOption(dhcpv4.OptRouter(ip("192.0.2.1")))
			m.UpdateOption(dhcpv4.OptClasslessStaticRoute(
				&dhcpv4.Route{Dest: prefix("127.0.0.0/8"), Router: ip("192.0.2.3")},
				&dhcpv4.Route{Dest: prefix("224.0.0.0/4"), Router: ip("192.0.2.3")},
				&dhcpv4.Route{Dest: prefix("10.0.0.0/8"), Router: ip("255.255.255.255")}))
		}, []string{"0.0.0.0/0 via 192.0.2.1"}},
		{"malformed classless routes", func(m *dhcpv4.DHCPv4) {
			m.UpdateOption(dhcpv4.OptRouter(ip("192.0.2.1")))
			m.Options[121] = []byte{33, 1, 2, 3}
		}, []string{"0.0.0.0/0 via 192.0.2.1"}},
	} {
		l, err := parseLease4(ack(c.change))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := routesOf(l); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLeaseWithoutAUsableNetmaskHasTheClassOfItsAddress(t *testing.T) {
	for _, c := range []struct {
		ip   string
		mask []byte
		want string
	}{
		{"10.1.2.3", nil, "10.1.2.3/8"},
		{"172.16.2.3", nil, "172.16.2.3/16"},
		{"192.168.2.3", nil, "192.168.2.3/24"},
		{"192.168.2.3", []byte{0, 0, 0, 0}, "192.168.2.3/24"},
		{"192.168.2.3", []byte{255, 0, 255, 0}, "192.168.2.3/24"},
		{"192.168.2.3", []byte{255, 255}, "192.168.2.3/24"},
		{"192.168.2.3", []byte{255, 255, 255, 255}, "192.168.2.3/32"},
		{"192.168.2.3", []byte{255, 255, 255, 254}, "192.168.2.3/31"},
	} {
		l, err := parseLease4(ack(func(m *dhcpv4.DHCPv4) {
			m.YourIPAddr = net.ParseIP(c.ip)
			m.DeleteOption(dhcpv4.OptionSubnetMask)
			if c.mask != nil {
				m.Options[1] = c.mask
			}
		}))
		if err != nil || l.address.String() != c.want {
			t.Errorf("mask %v: %v, %v, want %s", c.mask, l, err, c.want)
		}
	}
}

func TestLeaseTakesServersDomainsAndMTU(t *testing.T) {
	l, err := parseLease4(ack(func(m *dhcpv4.DHCPv4) {
		m.UpdateOption(dhcpv4.OptDNS(net.IPv4(192, 0, 2, 53), net.IPv4zero, net.IPv4(192, 0, 2, 53)))
		m.UpdateOption(dhcpv4.OptNTPServers(net.IPv4(192, 0, 2, 123)))
		m.UpdateOption(dhcpv4.OptDomainName("Example.org.\x00"))
		m.UpdateOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"lab.example.org", "example.org"}}))
		m.Options[26] = []byte{0x05, 0x78}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.53")}; !slices.Equal(l.nameservers, want) {
		t.Errorf("name servers %v", l.nameservers)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.123")}; !slices.Equal(l.ntp, want) {
		t.Errorf("NTP servers %v", l.ntp)
	}
	if want := []string{"example.org", "lab.example.org"}; !slices.Equal(l.search, want) {
		t.Errorf("search %q, want %q", l.search, want)
	}
	if l.mtu != 1400 {
		t.Errorf("MTU %d, want 1400", l.mtu)
	}
	for _, mtu := range [][]byte{{0, 68}, {5}, {0x04, 0xff}} {
		if l, err := parseLease4(ack(func(m *dhcpv4.DHCPv4) { m.Options[26] = mtu })); err != nil || l.mtu != 0 {
			t.Errorf("MTU option %x gives %v, %v, want none", mtu, l, err)
		}
	}
}

func TestDomainsCannotWriteIntoResolvConf(t *testing.T) {
	got := domains([]string{"good.example", "evil\nnameserver 203.0.113.1", "a b", "tab\t", "#x", "..", "", "-a.b", "a-.b",
		strings.Repeat("a", 64), strings.Repeat("abc.", 64), "_tcp.example", "GOOD.example."})
	if want := []string{"good.example", "_tcp.example"}; !slices.Equal(got, want) {
		t.Errorf("domains: %q, want %q", got, want)
	}
}

func TestLeaseTimesAreInOrder(t *testing.T) {
	values := []time.Duration{0, 1, 29, 30, 31, 59, 60, 61, 90, 3600, 86400, 1<<32 - 1}
	for _, t1 := range values {
		for _, t2 := range values {
			for _, lifetime := range values {
				a, b, c := leaseTimes(t1*time.Second, t2*time.Second, lifetime*time.Second, 4, 7)
				if a < minT1 || b <= a || c <= b || c < minLease || c < lifetime*time.Second {
					t.Errorf("leaseTimes(%d, %d, %d) = %s, %s, %s", t1, t2, lifetime, a, b, c)
				}
			}
		}
	}
	if a, b, c := leaseTimes(0, 0, time.Hour, 4, 7); a != 30*time.Minute || b != 52*time.Minute+30*time.Second || c != time.Hour {
		t.Errorf("defaults of an hour: %s, %s, %s", a, b, c)
	}
	if a, b, _ := leaseTimes(10*time.Minute, 20*time.Minute, time.Hour, 4, 7); a != 10*time.Minute || b != 20*time.Minute {
		t.Errorf("the server's own times: %s, %s", a, b)
	}
}

func FuzzLease4(f *testing.F) {
	f.Add(ack(nil).ToBytes())
	f.Add(ack(func(m *dhcpv4.DHCPv4) {
		m.Options[119] = []byte{3, 'l', 'a', 'b', 0xc0, 0}
		m.Options[121] = []byte{0, 192, 0, 2, 1, 32, 10, 0, 0, 1, 0, 0, 0, 0}
		m.Options[26] = []byte{5, 220}
		m.Options[6] = []byte{192, 0, 2, 1, 0, 0, 0, 0}
	}).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := parseLease4(m)
		if err != nil {
			return
		}
		if !l.address.IsValid() || !unicast(l.address.Addr()) || l.address.Bits() == 0 || !l.server.Is4() {
			t.Errorf("address %s from %s", l.address, l.server)
		}
		if l.t1 < minT1 || l.t1 >= l.t2 || l.t2 >= l.lifetime || l.lifetime < minLease {
			t.Errorf("times %s, %s, %s", l.t1, l.t2, l.lifetime)
		}
		if len(l.routes) > maxListed || len(l.nameservers) > maxListed || len(l.search) > maxListed || len(l.ntp) > maxListed {
			t.Error("a list is too long")
		}
		for _, r := range l.routes {
			if !r.dst.IsValid() || r.dst != r.dst.Masked() || (r.gateway.IsValid() && !unicast(r.gateway)) {
				t.Errorf("route %v", r)
			}
			_ = toRoute(route{dst: r.dst, gateway: r.gateway})
		}
		for line := range strings.Lines(string(resolvConf(l.nameservers, l.search))) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "search ") && !strings.HasPrefix(line, "nameserver ") {
				t.Errorf("resolv.conf has the line %q", line)
			}
		}
	})
}
