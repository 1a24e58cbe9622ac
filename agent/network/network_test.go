package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// node is a Network on fakes, in a bubble of its own time.
type node struct {
	*Network
	kernel  *fakeKernel
	sockets *fakeSockets
	options Options
	mu      sync.Mutex
	states  []State
}

func eth(index int, name string) link {
	return link{
		index: index, name: name, kind: "device", ethernet: true, carrier: true, mtu: 1500,
		mac: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
	}
}

// onNode runs body with a started Network and ends it afterwards. Links eth0 to eth2 and wlan0 are hardware.
func onNode(t *testing.T, config Config, body func(t *testing.T, n *node)) {
	t.Helper()
	n := &node{sockets: &fakeSockets{}}
	n.options = Options{
		Log: quiet, ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"), Hostname: "shop-17",
		LeaseDir:   filepath.Join(t.TempDir(), "leases"),
		SysfsRoot:  hardware(t, map[string]string{"eth0": "r8152", "eth1": "r8152", "eth2": "e1000", "wlan0": "brcmfmac"}),
		SysctlRoot: parameters(t, "eth0", "eth1", "eth2", "eth0.20", "eth0.30"),
		OnChange: func(s State) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.states = append(n.states, s)
		},
	}
	if err := os.Mkdir(filepath.Join(n.options.SysfsRoot, "class/net/wlan0/phy80211"), 0o755); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n.kernel = newFakeKernel() // here, since its channel must be the bubble's
		var err error
		if n.Network, err = start(t.Context(), config, n.options, n.kernel, n.sockets); err != nil {
			t.Fatal(err)
		}
		body(t, n)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if c := n.sockets.v4.openConns() + n.sockets.v6.openConns(); c != 0 {
			t.Errorf("%d sockets are open after Close", c)
		}
	})
}

func (n *node) resolvConf(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(n.options.ResolvConf)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (n *node) sysctl(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.options.SysctlRoot, "net", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func texts[T interface{ String() string }](list []T) (out []string) {
	for _, x := range list {
		out = append(out, x.String())
	}
	return out
}

func TestEveryWiredInterfaceGetsDHCPByDefault(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(link{index: 1, name: "lo", kind: "device", carrier: true})
		n.kernel.plug(eth(2, "eth0"))
		n.kernel.plug(eth(3, "wlan0"))
		n.kernel.plug(eth(4, "cni0"))
		synctest.Wait()
		check(t, "eth0", n.kernel.prefixes(2), "192.0.2.17/24")
		for _, index := range []int{1, 3, 4} {
			check(t, "others", n.kernel.prefixes(index))
		}
		s := n.State()
		if !s.Online || len(s.Interfaces) != 1 || len(s.Problems) != 0 {
			t.Errorf("state %+v", s)
		}
		check(t, "addresses", texts(s.Addresses), "192.0.2.17/24")
		check(t, "default routes", n.kernel.defaults(), "192.0.2.1")
		if r := n.resolvConf(t); !strings.HasPrefix(r, "#") || !strings.HasSuffix(r, "nameserver 192.0.2.1\n") {
			t.Errorf("resolv.conf: %q", r)
		}
		if v := n.sysctl(t, "ipv6/conf/eth0/accept_ra"); v != "2" {
			t.Errorf("accept_ra is %q: the cluster turns forwarding on, and only 2 survives that", v)
		}
		if err := n.WaitOnline(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestInterfaceThatIsPluggedInLaterWorks(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		pass(time.Hour)
		if n.State().Online {
			t.Error("online without an interface")
		}
		n.kernel.plug(eth(7, "eth1"))
		synctest.Wait()
		if !n.State().Online {
			t.Errorf("state %+v", n.State())
		}
		n.kernel.unplug(7)
		synctest.Wait()
		if s := n.State(); s.Online || len(s.Interfaces) != 0 || len(s.Nameservers) != 0 {
			t.Errorf("state after unplugging %+v", s)
		}
		if strings.Contains(n.resolvConf(t), "nameserver") {
			t.Errorf("resolv.conf after unplugging: %q", n.resolvConf(t))
		}
		n.kernel.plug(eth(8, "eth1")) // again, with a new index
		synctest.Wait()
		check(t, "eth1", n.kernel.prefixes(8), "192.0.2.17/24")
	})
}

func TestStaticConfig(t *testing.T) {
	config := Config{
		Interfaces: []Interface{{
			Match:     Match{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.17/24"), netip.MustParsePrefix("2001:db8::17/64")},
			Gateway4:  netip.MustParseAddr("192.0.2.1"), Gateway6: netip.MustParseAddr("2001:db8::1"), MTU: 9000,
		}},
		Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
	onNode(t, config, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		impostor := eth(9, "br0") // a bridge has the MAC of its first port
		impostor.mac = net.HardwareAddr{2, 0, 0, 0, 0, 2}
		n.kernel.plug(impostor)
		n.kernel.plug(eth(2, "eth0"))
		n.kernel.plug(eth(3, "eth1"))
		pass(time.Minute)
		check(t, "eth0", n.kernel.prefixes(2), "192.0.2.17/24", "2001:db8::17/64")
		check(t, "eth1", n.kernel.prefixes(3))
		check(t, "br0", n.kernel.prefixes(9))
		if got := n.kernel.defaults(); len(got) != 2 || !slices.Contains(got, "192.0.2.1") || !slices.Contains(got, "2001:db8::1") {
			t.Errorf("default routes %q", got)
		}
		if n.kernel.mtus[2] != 9000 {
			t.Errorf("MTU %d", n.kernel.mtus[2])
		}
		if m := n.sockets.v4.sent(); len(m) != 0 {
			t.Errorf("%d DHCP messages with a static config", len(m))
		}
		if v := n.sysctl(t, "ipv6/conf/eth0/accept_ra"); v != "0" {
			t.Errorf("accept_ra is %q with a static config", v)
		}
		if s := n.State(); !s.Online || len(s.Problems) != 0 {
			t.Errorf("state %+v", s)
		}
		if r := n.resolvConf(t); !strings.HasSuffix(r, "nameserver 192.0.2.53\n") {
			t.Errorf("resolv.conf: %q", r)
		}
	})
}

func TestVLANs(t *testing.T) {
	off := false
	config := Config{Interfaces: []Interface{{
		Match: Match{Name: "eth0"}, DHCP: &off,
		VLANs: []VLAN{{ID: 20}, {ID: 30, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")}}},
	}}}
	onNode(t, config, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		check(t, "eth0", n.kernel.prefixes(2))
		check(t, "eth0.20", n.kernel.prefixes(1020), "192.0.2.17/24")
		check(t, "eth0.30", n.kernel.prefixes(1030), "198.51.100.2/24")
		s := n.State()
		if !s.Online || len(s.Problems) != 0 || len(s.Interfaces) != 3 {
			t.Errorf("state %+v", s)
		}
		files, err := os.ReadDir(n.options.LeaseDir)
		if err != nil || len(files) != 1 || files[0].Name() != "02-00-00-00-00-02.20" {
			t.Errorf("lease files %v, %v", files, err)
		}
	})
	if name := vlanName(link{index: 7, name: "enx001122334455"}, 4094); name != "vl7.4094" {
		t.Errorf("the VLAN of a link with a long name is called %s", name)
	}
}

func TestMissingInterfaceIsAProblemUntilItComes(t *testing.T) {
	config := Config{Interfaces: []Interface{{Match: Match{Driver: "e1000"}}}}
	onNode(t, config, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		check(t, "problems", n.State().Problems, "no interface with driver e1000: waiting for it")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.WaitOnline(ctx); err == nil || !strings.Contains(err.Error(), "no interface with driver e1000") {
			t.Errorf("WaitOnline: %v", err)
		}
		n.kernel.plug(eth(4, "eth2"))
		synctest.Wait()
		check(t, "problems", n.State().Problems)
		check(t, "eth2", n.kernel.prefixes(4), "192.0.2.17/24")
	})
}

func TestSilentServerIsAProblemUntilItAnswers(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.kernel.plug(eth(2, "eth0"))
		pass(5 * time.Second)
		check(t, "problems after 5 s", n.State().Problems)
		pass(25 * time.Second)
		synctest.Wait()
		check(t, "problems after 30 s", n.State().Problems, "no DHCP answer on eth0 for 10 s: still asking")
		pass(24*time.Hour + time.Minute)
		check(t, "problems after a day", n.State().Problems, "no DHCP answer on eth0 for a day: still asking")
		n.mu.Lock()
		if len(n.states) > 10 {
			t.Errorf("told %d times in a day", len(n.states))
		}
		n.mu.Unlock()
		n.kernel.setCarrier(2, false)
		synctest.Wait()
		check(t, "problems without a carrier", n.State().Problems)
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.setCarrier(2, true)
		synctest.Wait()
		if s := n.State(); !s.Online || len(s.Problems) != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestMissingCarrierOfAConfiguredInterfaceIsAProblem(t *testing.T) {
	onNode(t, Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}}}}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		l := eth(2, "eth0")
		l.carrier = false
		n.kernel.plug(l)
		pass(time.Minute)
		check(t, "problems", n.State().Problems, "no carrier on eth0: is the cable plugged in at both ends?")
		if m := n.sockets.v4.sent(); len(m) != 0 {
			t.Errorf("%d DHCP messages without a carrier", len(m))
		}
		n.kernel.setCarrier(2, true)
		synctest.Wait()
		if s := n.State(); !s.Online || len(s.Problems) != 0 {
			t.Errorf("state %+v", s)
		}
		n.kernel.setCarrier(2, false)
		synctest.Wait()
		if s := n.State(); s.Online {
			t.Errorf("online without a carrier: %+v", s)
		}
		check(t, "addresses without a carrier", n.kernel.prefixes(2), "192.0.2.17/24")
	})
}

func TestWhatOthersAddedIsNotTouched(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		foreign := route{link: 2, dst: netip.MustParsePrefix("10.42.1.0/24"), gateway: netip.MustParseAddr("192.0.2.20")}
		_ = n.kernel.AddRoute(foreign)
		_ = n.kernel.AddAddress(2, address{prefix: netip.MustParsePrefix("192.0.2.200/32")})
		other := testServer4{ip: "192.0.2.2", gives: "192.0.2.18", lease: time.Hour}
		nak := goodServer4
		nak.nak = true
		n.sockets.v4.setServer(nak.serve)
		pass(31 * time.Minute) // the lease is refused
		check(t, "addresses without a lease", n.kernel.prefixes(2), "192.0.2.200/32")
		check(t, "default routes without a lease", n.kernel.defaults())
		n.sockets.v4.setServer(other.serve)
		pass(2 * time.Minute)
		check(t, "addresses", n.kernel.prefixes(2), "192.0.2.200/32", "192.0.2.18/24")
		check(t, "default routes", n.kernel.defaults(), "192.0.2.2")
		if !n.kernel.routes[foreign] {
			t.Error("the route of another program is gone")
		}
	})
}

func TestRenewalDoesNotTakeTheAddressAway(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		pass(24 * time.Hour)
		check(t, "addresses that were removed", n.kernel.removed())
	})
}

func TestAddressOfDHCPAndConfigStaysWhenTheLeaseGoes(t *testing.T) {
	on := true
	config := Config{Interfaces: []Interface{{
		Match: Match{Name: "eth0"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.17/24")}, DHCP: &on,
		Gateway4: netip.MustParseAddr("192.0.2.254"),
	}}}
	onNode(t, config, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		check(t, "default routes", n.kernel.defaults(), "192.0.2.254")
		n.sockets.v4.setServer(nil)
		pass(2 * time.Hour)
		check(t, "eth0", n.kernel.prefixes(2), "192.0.2.17/24")
		check(t, "default routes", n.kernel.defaults(), "192.0.2.254")
		check(t, "addresses that were removed", n.kernel.removed())
	})
}

func TestOrderOfTheConfigIsTheOrderOfDefaultRoutes(t *testing.T) {
	static := func(mac byte, p, g string) Interface {
		return Interface{Match: Match{MAC: net.HardwareAddr{2, 0, 0, 0, 0, mac}},
			Addresses: []netip.Prefix{netip.MustParsePrefix(p)}, Gateway4: netip.MustParseAddr(g)}
	}
	config := Config{Interfaces: []Interface{static(3, "198.51.100.2/24", "198.51.100.1"), static(2, "192.0.2.2/24", "192.0.2.1")}}
	onNode(t, config, func(t *testing.T, n *node) {
		n.kernel.plug(eth(2, "eth0"))
		n.kernel.plug(eth(3, "eth1"))
		synctest.Wait()
		check(t, "default routes", n.kernel.defaults(), "198.51.100.1", "192.0.2.1")
	})
}

func TestLinksOfOneEntryHaveDifferentMetrics(t *testing.T) {
	onNode(t, Config{Interfaces: []Interface{{Match: Match{Driver: "r8152"}}}}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		n.kernel.plug(eth(3, "eth1"))
		synctest.Wait()
		if d := n.kernel.defaults(); len(d) != 2 {
			t.Errorf("default routes %q: one replaced the other", d)
		}
	})
}

func TestAddressIsRememberedOverReboots(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		if err := os.MkdirAll(n.options.LeaseDir, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(n.options.LeaseDir, "02-00-00-00-00-02")
		if err := os.WriteFile(file, []byte("192.0.2.99\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		if m := string(n.sockets.v4.sent()[0].payload); !strings.Contains(m, "\x32\x04\xc0\x00\x02\x63") {
			t.Errorf("the first message does not ask for 192.0.2.99: %q", m)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != "192.0.2.17\n" {
			t.Errorf("lease file: %q, %v", b, err)
		}
	})
}

func TestLeaseFilesThatMakeNoSenseAreErrors(t *testing.T) {
	for _, content := range []string{"", "x", "::1", "127.0.0.1", "0.0.0.0", strings.Repeat("1", 100)} {
		path := filepath.Join(t.TempDir(), "lease")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if a, err := readLeaseFile(path); err == nil || a.IsValid() {
			t.Errorf("%q is read as %s", content, a)
		}
	}
	if a, err := readLeaseFile(filepath.Join(t.TempDir(), "none")); err != nil || a.IsValid() {
		t.Errorf("no file is read as %s, %v", a, err)
	}
}

func TestIPv6FromRoutersAndDHCPv6(t *testing.T) {
	onNode(t, Config{Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}, func(t *testing.T, n *node) {
		n.sockets.v6.setServer(goodServer6.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		n.sockets.routers("eth0").in <- advertisement{
			router: router1, lifetime: time.Hour, managed: true, search: []lifetimed[string]{{"example.org", time.Hour}},
			servers: []lifetimed[netip.Addr]{{netip.MustParseAddr("2001:db8::1"), time.Hour}},
		}
		synctest.Wait()
		check(t, "eth0", n.kernel.prefixes(2), "2001:db8::17/128")
		s := n.State()
		if !s.Online {
			t.Errorf("not online: %+v", s)
		}
		check(t, "name servers", texts(s.Nameservers), "192.0.2.53", "2001:db8::1", "2001:db8::53")
		check(t, "search", s.Search, "example.org")
		pass(time.Hour)
		synctest.Wait()
		check(t, "name servers after the router was silent for an hour", texts(n.State().Nameservers), "192.0.2.53", "2001:db8::53")
	})
}

func TestRouterThatSaysOtherStartsAnInformationRequest(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v6.setServer(goodServer6.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		for range 3 {
			n.sockets.routers("eth0").in <- advertisement{router: router1, lifetime: time.Hour, other: true}
		}
		synctest.Wait()
		check(t, "eth0", n.kernel.prefixes(2))
		check(t, "name servers", texts(n.State().Nameservers), "2001:db8::53")
		if m := n.sockets.v6.sent(); len(m) != 1 {
			t.Errorf("%d messages, want 1", len(m))
		}
	})
}

func TestFailuresOfTheKernelAreProblems(t *testing.T) {
	config := Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}, MTU: 65000}}}
	onNode(t, config, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		if err := os.RemoveAll(filepath.Join(n.options.SysctlRoot, "net/ipv6/conf/eth0")); err != nil {
			t.Fatal(err)
		}
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		s := n.State()
		if len(s.Problems) != 2 || !strings.Contains(s.Problems[0], "set the MTU of eth0 to 65000") ||
			!strings.Contains(s.Problems[1], "net/ipv6/conf/eth0/disable_ipv6") {
			t.Errorf("problems %q", s.Problems)
		}
		if !s.Online {
			t.Error("a wrong MTU keeps the node offline")
		}
	})
}

func TestResolvConfThatCannotBeWrittenIsAProblem(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		synctest.Wait()
		dir := filepath.Dir(n.options.ResolvConf)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		synctest.Wait()
		if p := n.State().Problems; len(p) != 1 || !strings.Contains(p[0], n.options.ResolvConf) {
			t.Errorf("problems %q", p)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		n.kernel.plug(eth(3, "eth1")) // any change
		synctest.Wait()
		check(t, "problems", n.State().Problems)
		if !strings.Contains(n.resolvConf(t), "nameserver 192.0.2.1") {
			t.Errorf("resolv.conf: %q", n.resolvConf(t))
		}
	})
}

func TestStateIsToldOnlyWhenItChanges(t *testing.T) {
	onNode(t, Config{}, func(t *testing.T, n *node) {
		n.sockets.v4.setServer(goodServer4.serve)
		n.kernel.plug(eth(2, "eth0"))
		pass(24 * time.Hour) // 48 renewals
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.states) > 4 {
			t.Errorf("told %d times", len(n.states))
		}
		for i := 1; i < len(n.states); i++ {
			if n.states[i].equal(n.states[i-1]) {
				t.Errorf("told the same state twice: %+v", n.states[i])
			}
		}
	})
}

func TestResolvConfContent(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	got := string(resolvConf(addrs("192.0.2.1", "fe80::1%eth0", "2001:db8::1", "192.0.2.4"), []string{"a.example", "b.example"}))
	_, body, _ := strings.Cut(got, "\n")
	want := "search a.example b.example\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n"
	if body != want {
		t.Errorf("resolv.conf: %q, want %q", body, want)
	}
	if got := string(resolvConf(nil, nil)); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "#") {
		t.Errorf("resolv.conf without servers: %q", got)
	}
}
