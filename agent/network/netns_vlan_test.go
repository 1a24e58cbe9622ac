//go:build netns && vlan

package network

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestNamespaceVLAN has a build tag of its own, since a host kernel may come without 802.1Q, which no package adds.
func TestNamespaceVLAN(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := plugIn(t)
	p.do(func() error {
		p0, err := netlink.LinkByName("p0")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = "p0.20", p0.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 20, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("p0.20")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr("198.51.100.1/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	p.serveDHCP4("p0", "192.0.2.1", "192.0.2.17")
	p.serveDHCP4("p0.20", "198.51.100.1", "198.51.100.17")
	n, _ := startReal(t, Config{Interfaces: []Interface{{Match: Match{Name: "eth0"}, VLANs: []VLAN{{ID: 20}}}}})
	until(t, "both leases", func() bool { return len(n.State().Addresses) == 2 })
	check(t, "eth0", addressesOf(t, "eth0"), "192.0.2.17/24")
	check(t, "eth0.20", addressesOf(t, "eth0.20"), "198.51.100.17/24")
	routes := ip[[]ipRoute](t, "route", "show", "default")
	want := []ipRoute{
		{"default", "192.0.2.1", "eth0", "dhcp", "192.0.2.17", 100},
		{"default", "198.51.100.1", "eth0.20", "dhcp", "198.51.100.17", 101},
	}
	if !slices.Equal(routes, want) {
		t.Errorf("routes %+v, want %+v", routes, want)
	}
}
