package network

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// lease6 is what a DHCPv6 server granted.
type lease6 struct {
	addresses   []address // none for an answer to an Information-request
	server      dhcpv6.DUID
	nameservers []netip.Addr
	search      []string
	ntp         []netip.Addr

	obtained         time.Time
	t1, t2, lifetime time.Duration // of an Information-request: t1 is when to ask again
}

func (l *lease6) at(d time.Duration) time.Time { return l.obtained.Add(d) }

// client6 is a DHCPv6 client for one link (RFC 8415).
//
// It departs from the RFC in two points. It takes the first advertisement that has an address instead of collecting
// them for a second, and it does not delay its first message: both cost boot time, and the jitter in what follows
// keeps many nodes apart. When the carrier returns it asks for its address anew instead of sending a Confirm.
type client6 struct {
	duid dhcpv6.DUID
	iaid [4]byte
	log  *slog.Logger

	open   func() (packetConn, error)
	kick   <-chan struct{} // the carrier came back: maybe from another network
	apply  func(*lease6)   // called with each new lease, and with nil when there is none any more
	failed func(since time.Duration, err error)
}

// newClient6 identifies the client by the link's MAC address: a DUID-LL (section 11.4) needs no place on disk.
func newClient6(mac net.HardwareAddr, vlan int) *client6 {
	c := &client6{duid: &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac}}
	copy(c.iaid[:], mac[max(len(mac)-4, 0):])
	c.iaid[0] ^= byte(vlan >> 8)
	c.iaid[1] ^= byte(vlan)
	return c
}

// run gets an address and keeps it, until ctx ends. Like with client4 a lease stays applied while another is looked
// for.
func (c *client6) run(ctx context.Context) {
	var held *lease6
	for ctx.Err() == nil {
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if held != nil {
			bounded, cancel = context.WithDeadlineCause(ctx, held.at(held.lifetime), errExpired)
		}
		next, err := c.acquire(bounded, held)
		cancel()
		for err == nil {
			held = next
			c.apply(held)
			next, err = c.extend(ctx, held)
		}
		if !errors.Is(err, errKicked) && ctx.Err() == nil {
			c.log.Warn("DHCPv6 lease lost", "reason", err)
			held = nil
			c.apply(nil)
		}
	}
}

// inform asks for name and time servers only, now and whenever the answer is too old, until ctx ends.
func (c *client6) inform(ctx context.Context) {
	began := time.Now()
	pause := retry{first: time.Second, limit: 2 * time.Minute}
	for ctx.Err() == nil {
		msg := c.message(dhcpv6.MessageTypeInformationRequest, began)
		lease, err := c.converse(ctx, msg, pause.wait(), nil, dhcpv6.MessageTypeReply)
		switch {
		case err == nil:
			c.apply(lease)
			_ = sleep(ctx, lease.t1, c.kick)
			pause.reset()
			began = time.Now()
		case errors.Is(err, errKicked):
			pause.reset()
		case ctx.Err() == nil:
			c.failed(time.Since(began), err)
		}
	}
}

func (c *client6) acquire(ctx context.Context, held *lease6) (*lease6, error) {
	began := time.Now()
	pause := retry{first: time.Second, limit: 2 * time.Minute}
	for {
		start, wait := time.Now(), pause.wait()
		msg := c.message(dhcpv6.MessageTypeSolicit, began)
		c.addIdentity(msg, held)
		offer, err := c.converse(ctx, msg, wait, nil, dhcpv6.MessageTypeAdvertise)
		var lease *lease6
		if err == nil {
			lease, err = c.request(ctx, offer, began)
		}
		switch {
		case err == nil:
			return lease, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errKicked):
			pause.reset()
			continue
		}
		c.log.Debug("DHCPv6 attempt failed", "error", err)
		c.failed(time.Since(began), err)
		if err := sleep(ctx, wait-time.Since(start), c.kick); errors.Is(err, errKicked) {
			pause.reset()
		}
	}
}

// request asks the server for what it advertised.
func (c *client6) request(ctx context.Context, offer *lease6, began time.Time) (*lease6, error) {
	msg := c.message(dhcpv6.MessageTypeRequest, began)
	msg.AddOption(dhcpv6.OptServerID(offer.server))
	c.addIdentity(msg, offer)
	pause := retry{first: time.Second, limit: 8 * time.Second}
	for range 4 {
		lease, err := c.converse(ctx, msg, pause.wait(), offer.server, dhcpv6.MessageTypeReply)
		if !errors.Is(err, errNoAnswer) {
			return lease, err
		}
	}
	return nil, errNoAnswer
}

// extend keeps a lease: Renew to its server, then Rebind to all (sections 18.2.4 and 18.2.5).
func (c *client6) extend(ctx context.Context, l *lease6) (*lease6, error) {
	if err := sleep(ctx, time.Until(l.at(l.t1)), c.kick); err != nil {
		return nil, err
	}
	for _, phase := range []struct {
		kind   dhcpv6.MessageType
		until  time.Time
		server dhcpv6.DUID
	}{
		{dhcpv6.MessageTypeRenew, l.at(l.t2), l.server},
		{dhcpv6.MessageTypeRebind, l.at(l.lifetime), nil},
	} {
		began := time.Now()
		for left := time.Until(phase.until); left > 0; left = time.Until(phase.until) {
			msg := c.message(phase.kind, began)
			if phase.server != nil {
				msg.AddOption(dhcpv6.OptServerID(phase.server))
			}
			c.addIdentity(msg, l)
			next, err := c.converse(ctx, msg, retransmit(left), phase.server, dhcpv6.MessageTypeReply)
			if !errors.Is(err, errNoAnswer) {
				return next, err
			}
		}
	}
	return nil, errExpired
}

// converse sends msg and returns what the first fitting answer grants: from one server if server is not nil.
func (c *client6) converse(ctx context.Context, msg *dhcpv6.Message, wait time.Duration, server dhcpv6.DUID,
	kind dhcpv6.MessageType) (*lease6, error) {
	sent := time.Now()
	var lease *lease6
	var refused error
	err := exchange(ctx, c.open, msg.ToBytes(), wait, c.kick, func(b []byte) bool {
		m, err := dhcpv6.MessageFromBytes(b)
		if err != nil || m.MessageType != kind || m.TransactionID != msg.TransactionID {
			return false
		}
		id, from := m.Options.ClientID(), m.Options.ServerID()
		if id == nil || from == nil || !id.Equal(c.duid) || (server != nil && !from.Equal(server)) {
			return false
		}
		l, err := parseLease6(m, c.iaid, msg.MessageType == dhcpv6.MessageTypeInformationRequest)
		if err != nil {
			c.log.Debug("DHCPv6 answer without an address", "error", err)
			// "No addresses" to a Solicit is one server's word, and another may have some.
			if kind == dhcpv6.MessageTypeAdvertise {
				return false
			}
			refused = err
			return true
		}
		l.obtained = sent
		lease = l
		return true
	})
	if err == nil {
		err = refused
	}
	return lease, err
}

func (c *client6) message(kind dhcpv6.MessageType, began time.Time) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind}
	r := rand.Uint32()
	m.TransactionID = dhcpv6.TransactionID{byte(r >> 16), byte(r >> 8), byte(r)}
	m.AddOption(dhcpv6.OptClientID(c.duid))
	m.AddOption(dhcpv6.OptElapsedTime(min(time.Since(began), 655*time.Second)))
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList,
		dhcpv6.OptionNTPServer, dhcpv6.OptionSNTPServerList, dhcpv6.OptionInformationRefreshTime))
	return m
}

// addIdentity asks for one address: that of the lease, if there is one.
func (c *client6) addIdentity(m *dhcpv6.Message, l *lease6) {
	ia := &dhcpv6.OptIANA{IaId: c.iaid}
	if l != nil {
		for _, a := range l.addresses {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.prefix.Addr().AsSlice()})
		}
	}
	m.AddOption(ia)
}
