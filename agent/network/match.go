package network

import (
	"bytes"
	"strings"
)

// match finds the settings for a link that is new.
func (n *Network) match(l link) (settings, bool) {
	if v, ok := n.vlans[l.name]; ok && l.kind == "vlan" {
		return v, true
	}
	if !l.ethernet || l.kind == "vlan" {
		return settings{}, false
	}
	if len(n.config.Interfaces) == 0 {
		ok := n.sysfs.physical(l.name) && !n.sysfs.wireless(l.name)
		return settings{dynamic: true, metric: foundMetric(l), entry: noEntry}, ok
	}
	for position, c := range n.config.Interfaces {
		if !n.matches(c.Match, l) {
			continue
		}
		set := c.settings(position)
		if n.taken(position) { // by driver, several may match
			if len(c.Addresses) > 0 {
				continue // two links with the same addresses would be worse than one without
			}
			set.metric = foundMetric(l)
		}
		return set, true
	}
	return settings{}, false
}

// taken tells whether a link has been configured by the config entry at this position.
func (n *Network) taken(position int) bool {
	for _, i := range n.ifaces {
		if i.set.entry == position {
			return true
		}
	}
	return false
}

func (n *Network) matches(m Match, l link) bool {
	if m.Name == "" && len(m.MAC) == 0 && m.Driver == "" {
		return false
	}
	if m.Name != "" && m.Name != l.name {
		return false
	}
	if len(m.MAC) != 0 && !bytes.Equal(m.MAC, l.mac) && !bytes.Equal(m.MAC, l.permMAC) {
		return false
	}
	if m.Driver != "" && m.Driver != n.sysfs.driver(l.name) {
		return false
	}
	return m.Name != "" || n.sysfs.physical(l.name)
}

func (m Match) String() string {
	var parts []string
	if len(m.MAC) != 0 {
		parts = append(parts, "MAC "+m.MAC.String())
	}
	if m.Name != "" {
		parts = append(parts, "name "+m.Name)
	}
	if m.Driver != "" {
		parts = append(parts, "driver "+m.Driver)
	}
	return strings.Join(parts, ", ")
}
