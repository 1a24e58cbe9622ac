package nodeconfig

import (
	"net/netip"
	"strings"

	"github.com/skerry-os/skerry/strictyaml"
)

func (d checks) network(n *Network) {
	const root = strictyaml.Path("network")
	for i, server := range n.Nameservers {
		p := root.Key("nameservers").Index(i)
		if d.Has(p) && (!server.IsValid() || server.IsUnspecified() || server.IsMulticast()) {
			d.Errorf(p, "the address of a name server belongs here, as in 192.0.2.1")
		}
	}
	for i, server := range n.NTP {
		if p := root.Key("ntp").Index(i); !isServerName(server) {
			d.Errorf(p, "found %q: the address or the name of a time server belongs here", short(server))
		}
	}
	seen := addressesSeen{addresses: map[netip.Addr]strictyaml.Path{}}
	for i := range n.Interfaces {
		iface := &n.Interfaces[i]
		p := root.Key("interfaces").Index(i)
		d.match(iface.Match, p.Key("match"))
		for j := range i {
			if sameMatch(iface.Match, n.Interfaces[j].Match) {
				d.Errorf(p.Key("match"), "network.interfaces[%d] matches the same interface: keep one", j)
				break
			}
		}
		d.addressing(&iface.Addressing, p, &seen)
		first := map[int]int{}
		for j := range iface.VLANs {
			vlan := &iface.VLANs[j]
			v := p.Key("vlans").Index(j)
			if !d.Has(v.Key("id")) {
				continue
			}
			if vlan.ID < 1 || vlan.ID > 4094 {
				d.Errorf(v.Key("id"), "found %d: a VLAN has a number from 1 to 4094", vlan.ID)
			} else if k, ok := first[vlan.ID]; ok {
				d.Errorf(v.Key("id"), "found %d, which vlans[%d] of this interface has already", vlan.ID, k)
			} else {
				first[vlan.ID] = j
			}
			d.addressing(&vlan.Addressing, v, &seen)
			if iface.MTU != 0 && vlan.MTU > iface.MTU {
				d.Errorf(v.Key("mtu"), "found %d: the interface below carries no more than %d", vlan.MTU, iface.MTU)
			}
		}
	}
}

func (d checks) match(m Match, p strictyaml.Path) {
	if !d.Has(p) {
		return
	}
	if !d.Has(p.Key("mac")) && !d.Has(p.Key("name")) && !d.Has(p.Key("driver")) {
		d.Errorf(p, "nothing is named: mac, name or driver belongs here")
	}
	if m.MAC != nil && (*m.MAC == MAC{} || m.MAC[0]&1 != 0) {
		d.Errorf(p.Key("mac"), "found %v: no interface has this address", m.MAC)
	}
	if name := m.Name; d.Has(p.Key("name")) && (name == "" || len(name) > 15 || name == "lo" || strings.IndexByte("._-", name[0]) >= 0 || !only(name, "._-")) {
		d.Errorf(p.Key("name"), "found %q: the name of an interface has 1 to 15 letters, digits, and ., _, - after the first, and is not lo", short(name))
	}
	if driver := m.Driver; d.Has(p.Key("driver")) && (driver == "" || len(driver) > 63 || strings.IndexByte("_-", driver[0]) >= 0 || !only(driver, "_-")) {
		d.Errorf(p.Key("driver"), "found %q: the name of a driver has letters, digits, and _, - after the first", short(driver))
	}
}

// sameMatch reports whether an interface that a matches is one that b matches.
// Two entries for one driver are one too many as well.
func sameMatch(a, b Match) bool {
	switch {
	case a.MAC != nil && b.MAC != nil:
		return *a.MAC == *b.MAC
	case a.Name != "" && b.Name != "":
		return a.Name == b.Name
	case a.MAC == nil && a.Name == "" && b.MAC == nil && b.Name == "":
		return a.Driver != "" && a.Driver == b.Driver
	}
	return false
}

// addressesSeen is what may be given once in the whole file.
type addressesSeen struct {
	addresses map[netip.Addr]strictyaml.Path
	gateway4  strictyaml.Path
	gateway6  strictyaml.Path
}

func (d checks) addressing(a *Addressing, p strictyaml.Path, seen *addressesSeen) {
	for i, prefix := range a.Addresses {
		at := p.Key("addresses").Index(i)
		if text := wrongAddress(prefix); text != "" {
			d.Errorf(at, "%s", text)
			continue
		}
		if other, ok := seen.addresses[prefix.Addr()]; ok {
			d.Errorf(at, "found %v, which is also at %s: an address is given once", prefix.Addr(), other)
			continue
		}
		seen.addresses[prefix.Addr()] = at
	}
	if a.MTU != 0 && (a.MTU < 1280 || a.MTU > 65535) || a.MTU == 0 && d.Has(p.Key("mtu")) {
		d.Errorf(p.Key("mtu"), "found %d: 1280, which IPv6 needs, to 65535 belongs here", a.MTU)
	}
	if d.Has(p.Key("gateway")) {
		d.gateway(a, p, seen)
	}
}

// wrongAddress says why no interface can have an address.
func wrongAddress(prefix netip.Prefix) string {
	addr, bits := prefix.Addr(), prefix.Bits()
	switch {
	case !addr.IsValid():
		return "an address and its prefix length belong here, as in 192.0.2.17/24"
	case addr.Is4In6():
		return "found " + prefix.String() + ": write it as an IPv4 address"
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLoopback(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "found " + prefix.String() + ": no interface can have this address"
	case bits == 0:
		return "found " + prefix.String() + ": the prefix length says that every address is on this network"
	case !addr.Is4() || bits >= 31: // RFC 3021: both addresses of a /31 are hosts
		return ""
	case addr == prefix.Masked().Addr():
		return "found " + prefix.String() + ": this is the address of the network, not of a node in it"
	case addr == lastOf(prefix):
		return "found " + prefix.String() + ": this is the broadcast address of the network"
	}
	return ""
}

// lastOf returns the last address of an IPv4 prefix.
func lastOf(prefix netip.Prefix) netip.Addr {
	b := prefix.Addr().As4()
	for i := prefix.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func (d checks) gateway(a *Addressing, p strictyaml.Path, seen *addressesSeen) {
	at := p.Key("gateway")
	gateway := a.Gateway
	switch {
	case !gateway.IsValid(), gateway.IsUnspecified(), gateway.IsMulticast(), gateway.IsLoopback():
		d.Errorf(at, "the address of a router belongs here, as in 192.0.2.1")
		return
	case a.DHCP != nil && *a.DHCP:
		d.Errorf(at, "DHCP brings a gateway of its own: remove gateway, or dhcp: true")
		return
	case !d.Has(p.Key("addresses")):
		d.Errorf(at, "a gateway needs static addresses: add addresses, or remove gateway if DHCP is to tell it")
		return
	}
	reachable := false
	for _, prefix := range a.Addresses {
		if prefix.Addr() == gateway {
			d.Errorf(at, "found %v, which is an address of this node", gateway)
			return
		}
		reachable = reachable || prefix.Contains(gateway.WithZone("")) ||
			gateway.IsLinkLocalUnicast() && gateway.Is6() && prefix.Addr().Is6()
	}
	if d.Failed(p.Key("addresses")) {
		return
	}
	if !reachable {
		d.Errorf(at, "found %v, which is in the prefix of no address given here: it cannot be reached", gateway)
		return
	}
	first := &seen.gateway6
	if gateway.Is4() {
		first = &seen.gateway4
	}
	if *first != "" {
		d.Errorf(at, "%s is given already: a node has one gateway for IPv4 and one for IPv6", *first)
		return
	}
	*first = at
}
