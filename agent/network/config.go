package network

import (
	"log/slog"
	"net"
	"net/netip"
)

// Config is what a person asked for. The zero value means DHCP and SLAAC on every wired interface.
type Config struct {
	Interfaces  []Interface  // in order of preference: earlier ones get the lower route metrics
	Nameservers []netip.Addr // asked before those that DHCP or routers name
}

// Interface is the config of the links it matches.
type Interface struct {
	Match     Match
	Addresses []netip.Prefix // host bits kept: 192.0.2.17/24
	Gateway4  netip.Addr     // IPv4 default gateway; the zero Addr means none
	Gateway6  netip.Addr     // IPv6 default gateway; the zero Addr means none
	MTU       int            // bytes; 0 leaves the link's own
	DHCP      *bool          // DHCPv4, SLAAC and DHCPv6; nil means: yes if there are no addresses
	VLANs     []VLAN
}

// Match says which links an Interface is for. All fields that are set must agree; one must be set.
// MAC and Driver match hardware only, since VLANs, bridges and macvlans copy the address of the link below them.
type Match struct {
	MAC    net.HardwareAddr
	Name   string // the kernel's name: eth0
	Driver string // the kernel driver's name: r8152
}

// VLAN is an IEEE 802.1Q interface on top of the one it is listed in.
type VLAN struct {
	ID        int // 1 to 4094
	Addresses []netip.Prefix
	Gateway4  netip.Addr
	Gateway6  netip.Addr
	MTU       int
	DHCP      *bool
}

// Options are the surroundings a Network works in. Log and ResolvConf are required.
type Options struct {
	Log        *slog.Logger
	ResolvConf string      // file written with the name servers, e.g. /run/resolv.conf
	Hostname   string      // sent to DHCP servers (option 12); may be empty
	LeaseDir   string      // directory on data that remembers DHCPv4 addresses over reboots; empty: not remembered
	OnChange   func(State) // called from one goroutine after each change of state; may be nil

	// SysctlRoot and SysfsRoot stand for /proc/sys and /sys, which are the defaults.
	SysctlRoot string
	SysfsRoot  string
}

// dynamic tells whether addresses come from the network.
func dynamic(dhcp *bool, addresses []netip.Prefix) bool {
	if dhcp != nil {
		return *dhcp
	}
	return len(addresses) == 0
}

// settings are what one link is configured with: an Interface's or a VLAN's.
type settings struct {
	addresses []netip.Prefix
	gateways  []netip.Addr
	mtu       int
	dynamic   bool
	metric    int
	entry     int // position in Config.Interfaces; noEntry for what a person did not list there
	vlans     []VLAN
	vlanID    int  // 0: not a VLAN
	named     bool // a person named this link: its missing carrier is worth a word
}

// Metrics leave room below for routes that a person or the cluster adds on purpose, and room between interfaces for
// their VLANs. Links that no entry names by itself come last, in the order the kernel found them.
const (
	metricConfigured = 100
	metricStep       = 100
	metricFound      = 20000

	noEntry = -1
)

// foundMetric is the metric of a link that shares its config with others.
func foundMetric(l link) int { return metricFound + l.index*metricStep }

func (c Interface) settings(position int) settings {
	return settings{
		addresses: c.Addresses, gateways: gateways(c.Gateway4, c.Gateway6), mtu: c.MTU,
		dynamic: dynamic(c.DHCP, c.Addresses), metric: metricConfigured + position*metricStep,
		entry: position, vlans: c.VLANs, named: true,
	}
}

func (v VLAN) settings(parent settings, position int) settings {
	return settings{
		addresses: v.Addresses, gateways: gateways(v.Gateway4, v.Gateway6), mtu: v.MTU,
		dynamic: dynamic(v.DHCP, v.Addresses), metric: parent.metric + 1 + min(position, metricStep-2), entry: noEntry,
		vlanID: v.ID, named: true,
	}
}

func gateways(addrs ...netip.Addr) (valid []netip.Addr) {
	for _, a := range addrs {
		if a.IsValid() {
			valid = append(valid, a)
		}
	}
	return valid
}
