package nodeconfig

import "net/netip"

// Network says how the node reaches the network.
type Network struct {
	// Wired interfaces and how they are set up. If any is listed, those not listed are left alone. Default: DHCP on all.
	Interfaces []Interface `yaml:"interfaces"`
	// Addresses of name servers, before those that DHCP tells.
	Nameservers []netip.Addr `yaml:"nameservers"`
	// Time servers, addresses or names, instead of those that DHCP tells.
	NTP []string `yaml:"ntp" jsonschema:"minLength=1,maxLength=253"`
}

// Interface is one network interface.
type Interface struct {
	// Which interface is meant.
	Match Match `yaml:"match" required:"true"`
	Addressing
	// VLANs on top of the interface, as in {id: 20, dhcp: true}.
	VLANs []VLAN `yaml:"vlans"`
}

// VLAN is an IEEE 802.1Q network on top of an interface.
type VLAN struct {
	// Its number, 1 to 4094.
	ID int `yaml:"id" required:"true" jsonschema:"minimum=1,maximum=4094"`
	Addressing
}

// Addressing is how an interface or a VLAN gets its addresses.
//
// Static addresses and DHCP can go together: the lease's address then comes on
// top. A gateway can not, since the lease brings one of its own.
type Addressing struct {
	// Whether to ask DHCP. Default: true without addresses, false with them.
	DHCP *bool `yaml:"dhcp"`
	// Static addresses with their prefix length, as in 192.0.2.17/24.
	Addresses []netip.Prefix `yaml:"addresses"`
	// Address of the default router, in the prefix of one of the addresses or link-local.
	Gateway netip.Addr `yaml:"gateway"`
	// Largest packet in bytes, 1280 to 65535; a VLAN's is not above its interface's. Default: what driver and DHCP say.
	MTU int `yaml:"mtu" jsonschema:"minimum=1280,maximum=65535"`
}

// UseDHCP reports whether DHCP is asked.
func (a Addressing) UseDHCP() bool {
	if a.DHCP != nil {
		return *a.DHCP
	}
	return len(a.Addresses) == 0
}

// Match says which interface is meant. All that is given has to fit; one at
// least is given.
type Match struct {
	// Its hardware address, as in "dc:a6:32:01:02:03".
	MAC *MAC `yaml:"mac"`
	// The name the kernel gives it, as in eth0.
	Name string `yaml:"name" jsonschema:"maxLength=15,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$"`
	// The name of its driver, as in virtio_net.
	Driver string `yaml:"driver" jsonschema:"pattern=^[A-Za-z0-9][A-Za-z0-9_-]*$"`
}

// Matches reports whether the interface with these properties is meant.
func (m Match) Matches(mac MAC, name, driver string) bool {
	return (m.MAC == nil || *m.MAC == mac) &&
		(m.Name == "" || m.Name == name) &&
		(m.Driver == "" || m.Driver == driver)
}
