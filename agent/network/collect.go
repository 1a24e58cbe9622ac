package network

import (
	"fmt"
	"slices"
	"strings"
)

// collect puts the state together from what each interface knows.
func (n *Network) collect() State {
	n.mu.Lock()
	list := make([]*iface, 0, len(n.ifaces))
	for _, i := range n.ifaces {
		list = append(list, i)
	}
	n.mu.Unlock()
	slices.SortFunc(list, func(a, b *iface) int { return a.set.metric - b.set.metric })
	s := State{Interfaces: []InterfaceState{}, Nameservers: slices.Clone(n.config.Nameservers)}
	for _, key := range sortedKeys(n.problems) {
		s.Problems = append(s.Problems, n.problems[key])
	}
	used := map[int]bool{}
	for _, i := range list {
		i.collect(&s)
		used[i.set.entry] = true
	}
	for position, c := range n.config.Interfaces {
		if !used[position] {
			s.Problems = append(s.Problems, fmt.Sprintf("no interface with %s: waiting for it", c.Match))
		}
	}
	slices.SortFunc(s.Interfaces, func(a, b InterfaceState) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// collect adds what this interface knows to s.
func (i *iface) collect(s *State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	state := InterfaceState{Name: i.link.name, MAC: i.link.mac.String(), Carrier: i.link.carrier}
	global := false
	for _, a := range i.current {
		if !a.usable {
			continue
		}
		state.Addresses = append(state.Addresses, a.prefix)
		if !a.prefix.Addr().IsLinkLocalUnicast() {
			global = true
			s.Addresses = appendNew(s.Addresses, a.prefix)
		}
	}
	s.Interfaces = append(s.Interfaces, state)
	routed := len(i.set.addresses) > 0 || len(i.routers.routers) > 0
	for _, o := range i.own {
		routed = routed || slices.ContainsFunc(o.routes, route.isDefault)
	}
	s.Online = s.Online || (global && routed && i.link.carrier)
	if l := i.lease4; l != nil {
		s.Nameservers, s.Search = appendNew(s.Nameservers, l.nameservers...), appendNew(s.Search, l.search...)
		s.NTPServers = appendNew(s.NTPServers, l.ntp...)
	}
	s.Nameservers, s.Search = appendNew(s.Nameservers, i.routers.servers...), appendNew(s.Search, i.routers.search...)
	if l := i.lease6; l != nil {
		s.Nameservers, s.Search = appendNew(s.Nameservers, l.nameservers...), appendNew(s.Search, l.search...)
		s.NTPServers = appendNew(s.NTPServers, l.ntp...)
	}
	if !i.link.carrier {
		// Without a carrier nobody can answer: what the clients say then is no news.
		if i.set.named {
			s.Problems = append(s.Problems, fmt.Sprintf("no carrier on %s: is the cable plugged in at both ends?", i.link.name))
		}
	}
	for _, key := range sortedKeys(i.problems) {
		if i.link.carrier || (key != "dhcp4" && key != "dhcp6") {
			s.Problems = append(s.Problems, i.problems[key])
		}
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
