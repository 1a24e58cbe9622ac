package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Sources of addresses and routes. Each has its own set, which is replaced as a whole.
const (
	sourceStatic = "static"
	sourceDHCP4  = "dhcp4"
	sourceDHCP6  = "dhcp6"
)

// owned are the addresses and routes of one source.
type owned struct {
	addresses []address
	routes    []route
}

// replace makes o what the source has on this link. Old addresses go first: one in the same subnet would become a
// secondary of the old one and vanish with it. Then all routes are set again, since the kernel takes routes away
// together with an address.
func (i *iface) replace(source string, o owned) {
	i.mu.Lock()
	defer func() { i.mu.Unlock(); i.net.touch() }()
	if i.gone {
		return
	}
	old := i.own[source]
	i.own[source] = o
	var errs []error
	for _, r := range old.routes {
		if !slices.Contains(o.routes, r) {
			errs = append(errs, i.net.kernel.RemoveRoute(r))
		}
	}
	for _, a := range old.addresses {
		if !i.has(a.prefix) {
			errs = append(errs, i.net.kernel.RemoveAddress(i.id.index, a.prefix))
		}
	}
	errs = append(errs, i.write(source))
	i.record("addresses", errors.Join(errs...))
}

// has tells whether any source has the address: static and DHCP may agree.
func (i *iface) has(p netip.Prefix) bool {
	for _, o := range i.own {
		if slices.ContainsFunc(o.addresses, func(a address) bool { return a.prefix == p }) {
			return true
		}
	}
	return false
}

// reapply sets everything again, for a link that was down: the kernel drops routes then, and IPv6 addresses.
func (i *iface) reapply() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.gone {
		i.record("addresses", i.write(sourceStatic, sourceDHCP4, sourceDHCP6))
	}
}

// write sets the addresses of some sources, and all routes.
func (i *iface) write(sources ...string) error {
	var errs []error
	for _, s := range sources {
		for _, a := range i.own[s].addresses {
			if err := i.net.kernel.AddAddress(i.id.index, a); err != nil {
				errs = append(errs, fmt.Errorf("give %s the address %s: %w", i.id.name, a.prefix, err))
			}
		}
	}
	// Static ones last: of two default routes with the link's metric the kernel keeps the last.
	for _, s := range []string{sourceDHCP4, sourceDHCP6, sourceStatic} {
		for _, r := range i.own[s].routes {
			if err := i.net.kernel.AddRoute(r); err != nil {
				errs = append(errs, fmt.Errorf("route %s through %s on %s: %w", r.dst, r.gateway, i.id.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// record is problem for those who hold mu.
func (i *iface) record(key string, err error) {
	if err == nil {
		delete(i.problems, key)
		return
	}
	i.problems[key] = err.Error()
}
