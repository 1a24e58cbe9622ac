package network

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// link is what the kernel says of a network interface.
type link struct {
	index    int
	name     string
	kind     string // rtnetlink's IFLA_INFO_KIND: "vlan", "veth", "bridge"; "device" for hardware
	mac      net.HardwareAddr
	permMAC  net.HardwareAddr // the address in the hardware, where the driver tells
	ethernet bool             // ARPHRD_ETHER
	carrier  bool             // up, with a partner on the other end
	mtu      int
}

// address is an address of a link.
type address struct {
	prefix    netip.Prefix
	preferred time.Duration // 0: for ever
	valid     time.Duration // 0: for ever
	usable    bool          // set by the kernel: neither tentative (DAD) nor a duplicate
}

// route is a route that this package adds. It is comparable: the same value removes it again.
type route struct {
	link     int
	dst      netip.Prefix
	gateway  netip.Addr // invalid: dst is on the link
	source   netip.Addr // preferred source address; invalid: the kernel chooses
	metric   int
	dhcp     bool // protocol "dhcp" instead of "static"
	onLink   bool // the gateway is on the link although no address of ours says so
	linkOnly bool // scope link
}

func (r route) isDefault() bool { return r.dst.Bits() == 0 }

// event is a change that the kernel reports: a link is new or has changed, a link is gone, or a link's addresses
// changed.
type event struct {
	kind eventKind
	link link // for addressChange only the index is set
}

type eventKind int

const (
	linkChange eventKind = iota
	linkGone
	addressChange
)

// kernel is the part of rtnetlink this package needs. The real one is rtnetlink in rtnetlink.go.
type kernel interface {
	// Watch reports all links there are, and then each change, until ctx ends; then it closes the channel.
	Watch(ctx context.Context) (<-chan event, error)
	Addresses(index int) ([]address, error)
	// Loopback brings lo up with its two addresses.
	Loopback() error
	SetUp(index int) error
	SetMTU(index, mtu int) error
	// AddVLAN adds a link on top of parent. A VLAN of that name which is there already is kept.
	AddVLAN(parent int, name string, id int) error
	// AddAddress and AddRoute replace what is there with the same key.
	AddAddress(index int, a address) error
	RemoveAddress(index int, p netip.Prefix) error
	AddRoute(route) error
	RemoveRoute(route) error
}

// sockets opens what the protocols speak through.
type sockets interface {
	// DHCP4 speaks from 0.0.0.0 to 255.255.255.255 on a link that may have no address.
	DHCP4(l link) (packetConn, error)
	// DHCP4Unicast speaks from an address the link has to a server.
	DHCP4Unicast(l link, from, to netip.Addr) (packetConn, error)
	// DHCP6 speaks to All_DHCP_Relay_Agents_and_Servers.
	DHCP6(l link) (packetConn, error)
	// Routers hears router advertisements.
	Routers(l link) (routerConn, error)
}

// packetConn carries the payload of UDP packets. Close makes a Read that waits return an error.
type packetConn interface {
	Send(b []byte) error
	Read(b []byte) (int, error)
	Close() error
}
