package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// patience is how long a server may be silent before State.Problems speaks of it.
const patience = 10 * time.Second

// runDHCP4 gets an address and keeps it, and remembers it for the next boot.
func (i *iface) runDHCP4() {
	c := &client4{
		mac: i.id.mac, hostname: i.net.options.Hostname, log: i.log, kick: i.kick4,
		broadcast: func() (packetConn, error) { return i.net.sockets.DHCP4(i.id) },
		unicast: func(from, to netip.Addr) (packetConn, error) {
			return i.net.sockets.DHCP4Unicast(i.id, from, to)
		},
		failed: func(since time.Duration, err error) { i.unanswered("dhcp4", "DHCP", since, err) },
	}
	file := ""
	if i.net.options.LeaseDir != "" {
		file = leaseFile(i.net.options.LeaseDir, i.id, i.set.vlanID)
		var err error
		if c.previous, err = readLeaseFile(file); err != nil {
			i.log.Warn("the last DHCP address is not known", "error", err)
		}
	}
	last := c.previous
	c.apply = func(l *lease4) {
		i.applyLease4(l)
		if file == "" || l == nil || l.address.Addr() == last {
			return
		}
		if err := writeLeaseFile(file, l.address.Addr()); err != nil {
			i.log.Warn("the DHCP address is not remembered", "error", err) // and tried again when it is renewed
			return
		}
		last = l.address.Addr()
	}
	c.run(i.ctx)
}

func (i *iface) applyLease4(l *lease4) {
	var o owned
	if l != nil {
		i.granted("DHCP lease", l.address, l.server.String(), l.lifetime)
		o.addresses = []address{{prefix: l.address}}
		for _, r := range l.routes {
			o.routes = append(o.routes, route{
				link: i.id.index, dst: r.dst, gateway: r.gateway, source: l.address.Addr(), metric: i.set.metric, dhcp: true,
				linkOnly: !r.gateway.IsValid(),
				// Providers give out /32 addresses, or routers in another subnet, and mean that the router is on the link.
				onLink: r.gateway.IsValid() && !l.address.Contains(r.gateway),
			})
		}
		// Routes on the link first: others may go through a router that only they reach.
		slices.SortStableFunc(o.routes, func(a, b route) int { return scopeOrder(a) - scopeOrder(b) })
		i.problem("dhcp4", nil)
		if l.mtu != 0 && i.set.mtu == 0 && l.mtu != i.mtu() {
			if err := i.net.kernel.SetMTU(i.id.index, l.mtu); err != nil {
				i.log.Warn("the MTU that the DHCP server names cannot be set", "mtu", l.mtu, "error", err)
			}
		}
	}
	i.mu.Lock()
	i.lease4 = l
	i.mu.Unlock()
	i.replace(sourceDHCP4, o)
}

// granted logs a lease: loudly when the address is new, since renewals come for ever.
func (i *iface) granted(what string, p netip.Prefix, server string, lifetime time.Duration) {
	i.mu.Lock()
	level := slog.LevelInfo
	if i.has(p) {
		level = slog.LevelDebug
	}
	i.mu.Unlock()
	i.log.Log(i.ctx, level, what, "address", p, "server", server, "lifetime", lifetime)
}

func scopeOrder(r route) int {
	if r.linkOnly {
		return 0
	}
	return 1
}

// listen starts the listener for routers, and with what it hears DHCPv6.
func (i *iface) listen() {
	conn, err := i.net.sockets.Routers(i.id)
	i.problem("routers", err)
	if err != nil {
		return
	}
	c := &routerClient{conn: conn, kick: i.kickRouters, heard: i.heardRouters}
	i.wait.Go(func() { c.run(i.ctx) })
}

func (i *iface) heardRouters(s routerState) {
	i.mu.Lock()
	i.routers = s
	start := (s.managed || s.other) && !i.asking6 && len(i.id.mac) == 6
	i.asking6 = i.asking6 || start
	i.mu.Unlock()
	if start {
		i.wait.Go(func() { i.runDHCP6(s.managed) })
	}
	i.net.touch()
}

// runDHCP6 asks for an address if the first router that spoke of DHCPv6 said so, else for the rest only.
func (i *iface) runDHCP6(managed bool) {
	c := newClient6(i.id.mac, i.set.vlanID)
	c.log, c.kick, c.apply = i.log, i.kick6, i.applyLease6
	c.open = func() (packetConn, error) { return i.net.sockets.DHCP6(i.id) }
	c.failed = func(since time.Duration, err error) { i.unanswered("dhcp6", "DHCPv6", since, err) }
	if managed {
		c.run(i.ctx)
	} else {
		c.inform(i.ctx)
	}
}

func (i *iface) applyLease6(l *lease6) {
	var o owned
	if l != nil {
		o.addresses = l.addresses
		for _, a := range l.addresses {
			i.granted("DHCPv6 lease", a.prefix, l.server.String(), a.valid)
		}
		i.problem("dhcp6", nil)
	}
	i.mu.Lock()
	i.lease6 = l
	i.mu.Unlock()
	i.replace(sourceDHCP6, o)
}

// unanswered says in Problems that a server is silent, once that has lasted.
func (i *iface) unanswered(key, protocol string, since time.Duration, err error) {
	switch {
	case errors.Is(err, errRefused):
		i.problem(key, fmt.Errorf("%s on %s: the server refuses what it offers: still asking", protocol, i.id.name))
	case since >= patience:
		detail := ""
		if err != errNoAnswer { // the message did not even leave
			detail = " (" + err.Error() + ")"
		}
		i.problem(key, fmt.Errorf("no %s answer on %s for %s%s: still asking", protocol, i.id.name, lasting(since), detail))
	}
}

// lasting says how long something has lasted, in steps: every change of a problem is shown to people.
func lasting(d time.Duration) string {
	said := "10 s"
	for _, step := range []struct {
		from time.Duration
		text string
	}{
		{30 * time.Second, "30 s"}, {2 * time.Minute, "2 min"}, {10 * time.Minute, "10 min"}, {time.Hour, "an hour"},
		{12 * time.Hour, "12 hours"}, {24 * time.Hour, "a day"},
	} {
		if d >= step.from {
			said = step.text
		}
	}
	return said
}
