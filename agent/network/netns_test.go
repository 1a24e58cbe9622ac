//go:build netns

package network

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// These tests run the real thing against the real kernel, in network namespaces of their own. They need root and
// iproute2, whose view of the result is the one that is compared.

// inNamespace runs the test again, in a process of its own whose network is empty: goroutines move between threads,
// so only a whole process can be in another namespace. It reports whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "NETWORK_TEST_IN_NAMESPACE"
	if os.Getenv(mark) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatalf("iproute2 is needed: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// peer is the other end of the cable: another namespace, on a thread that never leaves it.
type peer struct {
	t     *testing.T
	calls chan func()

	mu   sync.Mutex
	seen []string // what clients said: "v4 DISCOVER", "v6 SOLICIT"
}

// plugIn makes eth0 here and its other end, p0, in the peer's namespace.
func plugIn(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, calls: make(chan func())}
	ready := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		ready <- unix.Gettid()
		for call := range p.calls {
			call()
		}
	}()
	tid := <-ready
	t.Cleanup(func() { close(p.calls) })
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "p0", PeerNamespace: netlink.NsPid(tid)}))
	p.do(func() error {
		p0, err := netlink.LinkByName("p0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr("192.0.2.1/24")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(p0, a), netlink.LinkSetUp(p0))
	})
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do runs call in the peer's namespace. Sockets opened there stay there.
func (p *peer) do(call func() error) {
	p.t.Helper()
	done := make(chan error)
	p.calls <- func() { done <- call() }
	must(p.t, <-done)
}

func (p *peer) saw(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, what)
}

func (p *peer) count(what string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		if s == what {
			n++
		}
	}
	return n
}

// serveDHCP4 runs a DHCPv4 server with leases of a minute on a link of the peer.
func (p *peer) serveDHCP4(link, own, gives string) {
	var server *server4.Server
	handler := func(conn net.PacketConn, to net.Addr, m *dhcpv4.DHCPv4) {
		from := "broadcast"
		if !m.ClientIPAddr.IsUnspecified() && to.(*net.UDPAddr).IP.Equal(m.ClientIPAddr) {
			from = "unicast"
		}
		p.saw("v4 " + link + " " + m.MessageType().String() + " " + from)
		kind := dhcpv4.MessageTypeAck
		if m.MessageType() == dhcpv4.MessageTypeDiscover {
			kind = dhcpv4.MessageTypeOffer
		}
		answer, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(gives)),
			dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.ParseIP(own)), dhcpv4.WithDNS(net.ParseIP(own)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(own))), dhcpv4.WithLeaseTime(60))
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(answer.ToBytes(), to)
	}
	p.do(func() (err error) {
		server, err = server4.NewServer(link, &net.UDPAddr{IP: net.IPv4zero, Port: 67}, handler)
		return err
	})
	p.t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve() }()
}

// serveDHCP6 runs a DHCPv6 server on p0.
func (p *peer) serveDHCP6(gives string) {
	var server *server6.Server
	handler := func(conn net.PacketConn, to net.Addr, m dhcpv6.DHCPv6) {
		request, ok := m.(*dhcpv6.Message)
		if !ok {
			return
		}
		p.saw("v6 " + request.MessageType.String())
		for _, b := range (testServer6{id: 1, gives: gives, preferred: time.Hour, valid: time.Hour}).serve(sent{payload: request.ToBytes()}) {
			_, _ = conn.WriteTo(b, to)
		}
	}
	p.do(func() (err error) {
		server, err = server6.NewServer("p0", nil, handler)
		return err
	})
	p.t.Cleanup(func() { server.Close() })
	go func() { _ = server.Serve() }()
}

// advertise answers router solicitations on p0.
func (p *peer) advertise(ra *ndp.RouterAdvertisement) {
	var conn *ndp.Conn
	p.do(func() error {
		deadline := time.Now().Add(time.Minute)
		for { // the link-local address is tentative for a second after eth0 came up
			ifi, err := net.InterfaceByName("p0")
			if err != nil {
				return err
			}
			conn, _, err = ndp.Listen(ifi, ndp.LinkLocal)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeRouterSolicitation)
		return errors.Join(conn.JoinGroup(netip.MustParseAddr("ff02::2")), conn.SetICMPFilter(&filter))
	})
	p.t.Cleanup(func() { conn.Close() })
	speak := func() { _ = conn.WriteTo(ra, nil, netip.MustParseAddr("ff02::1")) }
	speak()
	go func() {
		for {
			if _, _, _, err := conn.ReadFrom(); err != nil {
				return
			}
			p.saw("RS")
			speak()
		}
	}()
}

// ip asks iproute2.
func ip[T any](t *testing.T, args ...string) (out T) {
	t.Helper()
	b, err := exec.Command("ip", append([]string{"-j"}, args...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("ip %s: %s", strings.Join(args, " "), exit.Stderr)
		}
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, b)
	}
	return out
}

type ipLink struct {
	Name  string `json:"ifname"`
	MTU   int    `json:"mtu"`
	Addrs []struct {
		Local   string `json:"local"`
		Bits    int    `json:"prefixlen"`
		Dynamic bool   `json:"dynamic"`
	} `json:"addr_info"`
}

type ipRoute struct {
	Dst, Gateway, Dev, Protocol, Prefsrc string
	Metric                               int
}

func addressesOf(t *testing.T, name string) (list []string) {
	t.Helper()
	for _, l := range ip[[]ipLink](t, "addr", "show", "dev", name) {
		for _, a := range l.Addrs {
			if p := netip.PrefixFrom(netip.MustParseAddr(a.Local), a.Bits); !p.Addr().IsLinkLocalUnicast() {
				list = append(list, p.String())
			}
		}
	}
	slices.Sort(list)
	return list
}

// until waits for a condition that only time and events bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func startReal(t *testing.T, config Config) (*Network, Options) {
	t.Helper()
	options := Options{
		Log:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
		ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"), LeaseDir: t.TempDir(), Hostname: "shop-17",
	}
	n, err := Start(t.Context(), config, options)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n, options
}

func online(t *testing.T, n *Network) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.WaitOnline(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestNamespaceDHCP(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := plugIn(t)
	p.serveDHCP4("p0", "192.0.2.1", "192.0.2.17")
	n, options := startReal(t, Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}, MTU: 1400}}})
	online(t, n)
	check(t, "lo", addressesOf(t, "lo"), "127.0.0.1/8", "::1/128")
	check(t, "eth0", addressesOf(t, "eth0"), "192.0.2.17/24")
	if l := ip[[]ipLink](t, "addr", "show", "dev", "eth0"); l[0].MTU != 1400 {
		t.Errorf("MTU %d", l[0].MTU)
	}
	routes := ip[[]ipRoute](t, "route", "show", "default")
	want := []ipRoute{{"default", "192.0.2.1", "eth0", "dhcp", "192.0.2.17", 100}}
	if !slices.Equal(routes, want) {
		t.Errorf("routes %+v, want %+v", routes, want)
	}
	if b, err := os.ReadFile(options.ResolvConf); err != nil || !strings.Contains(string(b), "nameserver 192.0.2.1\n") {
		t.Errorf("resolv.conf %q, %v", b, err)
	}
	out, err := exec.Command("ip", "route", "add", "10.42.0.0/16", "via", "192.0.2.99").CombinedOutput()
	if err != nil {
		t.Fatalf("%s", out)
	}

	until(t, "a renewal by unicast", func() bool { return p.count("v4 p0 REQUEST unicast") > 0 })
	if n := p.count("v4 p0 DISCOVER broadcast"); n != 1 {
		t.Errorf("%d discovers", n)
	}

	before := p.count("v4 p0 REQUEST broadcast")
	for _, state := range []string{"down", "up"} {
		p.do(func() error { return exec.Command("ip", "link", "set", "p0", state).Run() })
		until(t, "carrier "+state, func() bool {
			s := n.State()
			return len(s.Interfaces) == 1 && s.Interfaces[0].Carrier == (state == "up")
		})
	}
	until(t, "a confirmation after the carrier came back", func() bool { return p.count("v4 p0 REQUEST broadcast") > before })
	if r := ip[[]ipRoute](t, "route", "show", "10.42.0.0/16"); len(r) != 1 {
		t.Error("the route of another program is gone")
	}

	// The DHCP socket hears nothing but DHCP, and nothing is open at rest.
	if out, err := exec.Command("ss", "-H", "-0", "-n").CombinedOutput(); err == nil && strings.TrimSpace(string(out)) != "" {
		until(t, "packet sockets closed", func() bool {
			out, err := exec.Command("ss", "-H", "-0", "-n").CombinedOutput()
			return err == nil && strings.TrimSpace(string(out)) == ""
		})
	}

	out, err = exec.Command("ip", "link", "del", "eth0").CombinedOutput()
	if err != nil {
		t.Fatalf("%s", out)
	}
	until(t, "eth0 is gone", func() bool { return len(n.State().Interfaces) == 0 })
	if s := n.State(); s.Online || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "no interface with name eth0") {
		t.Errorf("state %+v", s)
	}
}

func TestNamespaceIPv6(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := plugIn(t)
	p.serveDHCP6("2001:db8:6::17")
	off := Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}}}}
	n, _ := startReal(t, off)
	p.advertise(&ndp.RouterAdvertisement{
		ManagedConfiguration: true, RouterLifetime: time.Hour, CurrentHopLimit: 64,
		Options: []ndp.Option{
			&ndp.PrefixInformation{
				PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true, Prefix: netip.MustParseAddr("2001:db8:5::"),
				ValidLifetime: time.Hour, PreferredLifetime: time.Hour,
			},
			&ndp.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{netip.MustParseAddr("2001:db8:5::53")}},
			&ndp.DNSSearchList{Lifetime: time.Hour, DomainNames: []string{"lab.example"}},
		},
	})
	until(t, "SLAAC and DHCPv6", func() bool { return len(n.State().Addresses) == 2 })
	mac := n.State().Interfaces[0].MAC
	hw, err := net.ParseMAC(mac)
	must(t, err)
	// EUI-64 (RFC 4291 appendix A).
	slaac := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 5, 8: hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	check(t, "eth0", addressesOf(t, "eth0"), slaac.String()+"/64", "2001:db8:6::17/128")
	s := n.State()
	check(t, "name servers", texts(s.Nameservers), "2001:db8:5::53", "2001:db8::53")
	check(t, "search", s.Search, "lab.example")
	if !s.Online {
		t.Errorf("not online: %+v", s)
	}
	r := ip[[]ipRoute](t, "-6", "route", "show", "default")
	if len(r) != 1 || r[0].Protocol != "ra" || r[0].Metric != 100 {
		t.Errorf("default routes %+v, want one of the router, with metric 100", r)
	}
	if p.count("v6 SOLICIT") == 0 || p.count("RS") == 0 {
		t.Error("nothing was asked")
	}
	// The cluster turns forwarding on. Routers must be listened to all the same.
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	if r := ip[[]ipRoute](t, "-6", "route", "show", "default"); len(r) != 1 {
		t.Errorf("default routes with forwarding %+v", r)
	}
}

func TestNamespaceStatic(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := plugIn(t)
	p.serveDHCP4("p0", "192.0.2.1", "192.0.2.17")
	n, _ := startReal(t, Config{Interfaces: []Interface{{
		Match:     Match{Name: "eth0"},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24"), netip.MustParsePrefix("192.0.2.6/24"), netip.MustParsePrefix("2001:db8::5/64")},
		Gateway4:  netip.MustParseAddr("192.0.2.1"), Gateway6: netip.MustParseAddr("2001:db8::1"),
	}}})
	online(t, n)
	until(t, "duplicate address detection", func() bool { return len(n.State().Addresses) == 3 })
	check(t, "eth0", addressesOf(t, "eth0"), "192.0.2.5/24", "192.0.2.6/24", "2001:db8::5/64")
	for _, family := range []string{"-4", "-6"} {
		r := ip[[]ipRoute](t, family, "route", "show", "default")
		if len(r) != 1 || r[0].Protocol != "static" || r[0].Metric != 100 {
			t.Errorf("%s default routes %+v", family, r)
		}
	}
	if p.count("v4 p0 DISCOVER broadcast") != 0 {
		t.Error("asked for DHCP with a static config")
	}
}

// TestNamespaceOddLeases applies what providers do: a /32 address, a router outside of the subnet, routes that go
// through a router which only another route reaches.
func TestNamespaceOddLeases(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	plugIn(t)
	n, _ := startReal(t, Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}}}})
	until(t, "eth0", func() bool { return len(n.State().Interfaces) == 1 && n.State().Interfaces[0].Carrier })
	n.mu.Lock()
	var i *iface
	for _, i = range n.ifaces {
	}
	n.mu.Unlock()
	for _, l := range []*lease4{
		{address: netip.MustParsePrefix("203.0.113.5/32"), routes: []leaseRoute{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.0.1")}}},
		{address: netip.MustParsePrefix("203.0.113.5/24"), routes: []leaseRoute{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("198.51.100.1")},
			{netip.MustParsePrefix("198.51.100.0/24"), netip.Addr{}}}},
		{address: netip.MustParsePrefix("203.0.113.6/24"), routes: []leaseRoute{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1")}}},
		{address: netip.MustParsePrefix("203.0.113.7/24"), routes: []leaseRoute{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("203.0.113.1")}}},
	} {
		l.server, l.lifetime = netip.MustParseAddr("203.0.113.1"), time.Hour
		i.applyLease4(l)
		check(t, "eth0", addressesOf(t, "eth0"), l.address.String())
		if r := ip[[]ipRoute](t, "route", "show", "default"); len(r) != 1 || r[0].Prefsrc != l.address.Addr().String() {
			t.Errorf("lease %s: default routes %+v", l.address, r)
		}
		for key, p := range i.problems {
			t.Errorf("lease %s: %s: %s", l.address, key, p)
		}
	}
	i.applyLease4(nil)
	check(t, "eth0 without a lease", addressesOf(t, "eth0"))
	if r := ip[[]ipRoute](t, "route", "show", "default"); len(r) != 0 {
		t.Errorf("default routes without a lease %+v", r)
	}
}
