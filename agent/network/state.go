package network

import (
	"net/netip"
	"slices"
)

// State is what the network looks like at one moment.
type State struct {
	Interfaces  []InterfaceState // those this package configures, VLANs included, by name
	Addresses   []netip.Prefix   // usable addresses that are not link-local, in the order of the interfaces
	Nameservers []netip.Addr     // configured first, then by interface
	Search      []string         // domains from DHCP and router advertisements
	NTPServers  []netip.Addr     // from DHCP
	Problems    []string         // what is wrong now, for a person to read
	Online      bool             // an address that is not link-local, and a default route or a static config
}

// InterfaceState is one interface of a State.
type InterfaceState struct {
	Name      string
	MAC       string
	Carrier   bool           // a cable is plugged in and the other end talks
	Addresses []netip.Prefix // usable ones, link-local included
}

func (s State) equal(t State) bool {
	return s.Online == t.Online &&
		slices.EqualFunc(s.Interfaces, t.Interfaces, InterfaceState.equal) &&
		slices.Equal(s.Addresses, t.Addresses) &&
		slices.Equal(s.Nameservers, t.Nameservers) &&
		slices.Equal(s.Search, t.Search) &&
		slices.Equal(s.NTPServers, t.NTPServers) &&
		slices.Equal(s.Problems, t.Problems)
}

func (s InterfaceState) equal(t InterfaceState) bool {
	return s.Name == t.Name && s.MAC == t.MAC && s.Carrier == t.Carrier && slices.Equal(s.Addresses, t.Addresses)
}

// appendNew appends those of more that list does not have yet.
func appendNew[T comparable](list []T, more ...T) []T {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}
