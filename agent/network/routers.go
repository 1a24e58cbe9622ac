package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// routerConn hears the routers of one link.
type routerConn interface {
	// Solicit asks all routers to speak (RFC 4861 section 4.1).
	Solicit() error
	// Read returns the next valid advertisement. Close makes it return an error.
	Read() (advertisement, error)
	Close() error
}

// advertisement is what a router advertisement says that the kernel does not look at (RFC 4861 section 4.2, RFC 8106).
// Prefixes and the default route are the kernel's.
type advertisement struct {
	router   netip.Addr
	lifetime time.Duration // of the default route; 0: the router is none
	managed  bool          // M: addresses by DHCPv6
	other    bool          // O: other configuration by DHCPv6
	servers  []lifetimed[netip.Addr]
	search   []lifetimed[string]
}

type lifetimed[T any] struct {
	value    T
	lifetime time.Duration
}

// parseAdvertisement picks out what the agent uses.
func parseAdvertisement(from netip.Addr, ra *ndp.RouterAdvertisement) advertisement {
	a := advertisement{
		router: from, lifetime: ra.RouterLifetime, managed: ra.ManagedConfiguration, other: ra.OtherConfiguration,
	}
	for _, o := range ra.Options {
		switch o := o.(type) {
		case *ndp.RecursiveDNSServer:
			for _, s := range o.Servers {
				if !unicast(s) || len(a.servers) == maxListed {
					continue
				}
				if s.IsLinkLocalUnicast() {
					s = s.WithZone(from.Zone()) // means nothing in resolv.conf without its link
				}
				a.servers = append(a.servers, lifetimed[netip.Addr]{s, o.Lifetime})
			}
		case *ndp.DNSSearchList:
			for _, d := range domains(o.DomainNames) {
				if len(a.search) < maxListed {
					a.search = append(a.search, lifetimed[string]{d, o.Lifetime})
				}
			}
		}
	}
	return a
}

// expiring is a list of values that routers have announced, each until its time.
type expiring[T comparable] struct {
	entries []expiry[T]
}

type expiry[T comparable] struct {
	value T
	until time.Time
}

// announce enters, prolongs or (lifetime 0) withdraws a value. Values beyond maxListed are not taken: one host that
// sends made-up advertisements must not push the real ones out.
func (e *expiring[T]) announce(now time.Time, value T, lifetime time.Duration) {
	i := slices.IndexFunc(e.entries, func(x expiry[T]) bool { return x.value == value })
	switch {
	case lifetime <= 0 && i >= 0:
		e.entries = slices.Delete(e.entries, i, i+1)
	case lifetime <= 0:
	case i >= 0:
		e.entries[i].until = now.Add(lifetime)
	case len(e.entries) < maxListed:
		e.entries = append(e.entries, expiry[T]{value, now.Add(lifetime)})
	}
}

// expire drops what is over at now and returns when the next one is, or the zero time.
func (e *expiring[T]) expire(now time.Time) (next time.Time) {
	e.entries = slices.DeleteFunc(e.entries, func(x expiry[T]) bool { return !x.until.After(now) })
	for _, x := range e.entries {
		next = earlier(next, x.until)
	}
	return next
}

func (e *expiring[T]) values() (v []T) {
	for _, x := range e.entries {
		v = append(v, x.value)
	}
	return v
}

// earlier returns the earlier of two times; the zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// routerState is what the routers of a link said last.
type routerState struct {
	routers []netip.Addr // those that are default routers
	servers []netip.Addr
	search  []string
	managed bool // one of them has said so
	other   bool
}

// routerClient listens to the routers of one link.
type routerClient struct {
	conn  routerConn
	kick  <-chan struct{}
	heard func(routerState) // called after each advertisement, and when something in the last state is over
}

// solicitations and solicitInterval are of RFC 4861 section 10. The kernel solicits too; ours are for the case that
// the link was up already, and the kernel's answers came before anybody listened.
const (
	solicitations   = 3
	solicitInterval = 4 * time.Second
)

// run listens until ctx ends. It closes the connection.
func (c *routerClient) run(ctx context.Context) {
	heard := make(chan advertisement)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			a, err := c.conn.Read()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // the link is down, or out of memory: it may pass
				if sleep(ctx, time.Second, nil) != nil {
					return
				}
				continue
			}
			select {
			case heard <- a:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { c.conn.Close(); <-done }()

	var routers, servers expiring[netip.Addr]
	var search expiring[string]
	var state routerState
	left := solicitations
	solicit, expire := time.NewTimer(0), time.NewTimer(time.Hour)
	defer solicit.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
			left = solicitations
			solicit.Reset(0)
			continue
		case <-solicit.C:
			if left--; left >= 0 {
				// It fails while the link-local address is tentative, and then the next one goes out.
				_ = c.conn.Solicit()
				solicit.Reset(solicitInterval)
			}
			continue
		case <-expire.C:
		case a := <-heard:
			left = 0
			now := time.Now()
			routers.announce(now, a.router, a.lifetime)
			for _, s := range a.servers {
				servers.announce(now, s.value, s.lifetime)
			}
			for _, d := range a.search {
				search.announce(now, d.value, d.lifetime)
			}
			state.managed = state.managed || a.managed
			state.other = state.other || a.other
		}
		now := time.Now()
		next := earlier(earlier(routers.expire(now), servers.expire(now)), search.expire(now))
		if !next.IsZero() {
			expire.Reset(next.Sub(now))
		}
		state.routers, state.servers, state.search = routers.values(), servers.values(), search.values()
		c.heard(state)
	}
}

// ndpConn hears advertisements through a raw ICMPv6 socket.
type ndpConn struct {
	*ndp.Conn
	link link
}

func (systemSockets) Routers(l link) (routerConn, error) {
	ifi := &net.Interface{Index: l.index, Name: l.name, MTU: l.mtu, HardwareAddr: l.mac}
	// Not bound to the link-local address: there is none yet when a link comes up.
	conn, _, err := ndp.Listen(ifi, ndp.Unspecified)
	if err != nil {
		return nil, fmt.Errorf("listen for routers on %s: %w", l.name, err)
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := conn.SetICMPFilter(&filter); err != nil {
		conn.Close()
		return nil, fmt.Errorf("filter for router advertisements on %s: %w", l.name, err)
	}
	if err := conn.SetControlMessage(ipv6.FlagInterface|ipv6.FlagHopLimit, true); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen for routers on %s: %w", l.name, err)
	}
	return ndpConn{conn, l}, nil
}

func (c ndpConn) Solicit() error {
	return c.WriteTo(&ndp.RouterSolicitation{}, nil, netip.IPv6LinkLocalAllRouters())
}

// Read skips what is not a valid advertisement from this link (RFC 4861 section 6.1.2).
func (c ndpConn) Read() (advertisement, error) {
	buf := make([]byte, maxPacket)
	for {
		n, cm, from, err := c.ReadRaw(buf)
		if err != nil {
			return advertisement{}, err
		}
		if cm == nil || cm.IfIndex != c.link.index || cm.HopLimit != ndp.HopLimit || !from.IsLinkLocalUnicast() {
			continue
		}
		if ra := decodeAdvertisement(buf[:n]); ra != nil {
			return parseAdvertisement(from, ra), nil
		}
	}
}

// decodeAdvertisement returns nil for what is not an advertisement. The decoder drops a whole message because of one
// bad option; the flags and the lifetime of the router still count then, since the kernel goes by them too.
func decodeAdvertisement(b []byte) *ndp.RouterAdvertisement {
	const header = 16 // ICMPv6 and advertisement, without options
	m, err := ndp.ParseMessage(b)
	if err != nil && len(b) > header {
		m, err = ndp.ParseMessage(b[:header])
	}
	if err != nil {
		return nil
	}
	ra, _ := m.(*ndp.RouterAdvertisement)
	return ra
}
