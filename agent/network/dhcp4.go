package network

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// client4 is a DHCPv4 client for one link (RFC 2131). It has no goroutine of its own: run is one.
type client4 struct {
	mac      net.HardwareAddr
	hostname string
	previous netip.Addr // asked for first; invalid: none
	log      *slog.Logger

	broadcast func() (packetConn, error)
	unicast   func(from, to netip.Addr) (packetConn, error)
	kick      <-chan struct{} // the carrier came back: maybe from another network

	// apply is called with each new lease, and with nil when there is none any more.
	apply func(*lease4)
	// failed is called after each attempt that got no lease, with the time since the first of them.
	failed func(since time.Duration, err error)
}

// run gets a lease and keeps it, until ctx ends. A lease stays applied while another is looked for, until it expires
// or a server refuses it.
func (c *client4) run(ctx context.Context) {
	var held *lease4
	want := c.previous
	confirm := false
	for ctx.Err() == nil {
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if held != nil {
			bounded, cancel = context.WithDeadlineCause(ctx, held.at(held.lifetime), errExpired)
		}
		next, err := c.acquire(bounded, want, confirm && held != nil)
		cancel()
		confirm = false
		for err == nil {
			held, want = next, next.address.Addr()
			c.apply(held)
			next, err = c.extend(ctx, held)
		}
		switch {
		case errors.Is(err, errKicked):
			confirm = true
		case ctx.Err() == nil:
			c.log.Warn("DHCP lease lost", "address", want, "reason", err)
			held = nil
			c.apply(nil)
		}
	}
}

// acquire asks for a lease until there is one. With confirm it first asks whether the address is still right
// (INIT-REBOOT, RFC 2131 section 4.3.2); it fails with errRefused only if a server says no to that.
func (c *client4) acquire(ctx context.Context, want netip.Addr, confirm bool) (*lease4, error) {
	began := time.Now()
	if confirm {
		for _, wait := range []time.Duration{time.Second, 2 * time.Second} {
			msg := c.message(dhcpv4.MessageTypeRequest)
			msg.UpdateOption(dhcpv4.OptRequestedIPAddress(want.AsSlice()))
			l, err := c.request(ctx, wait, c.broadcast, msg, netip.Addr{})
			if !errors.Is(err, errNoAnswer) && !errors.Is(err, errKicked) {
				return l, err
			}
		}
	}
	pause := retry{first: time.Second, limit: time.Minute}
	for {
		lease, wait, err := c.discover(ctx, want, began, pause.wait())
		switch {
		case err == nil:
			return lease, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errKicked):
			pause.reset()
			continue
		case errors.Is(err, errRefused):
			want = netip.Addr{}
		}
		c.log.Debug("DHCP attempt failed", "error", err)
		c.failed(time.Since(began), err)
		// A server that offers and then refuses answers at once: the rest of the attempt's time is still waited for.
		if err := sleep(ctx, wait, c.kick); errors.Is(err, errKicked) {
			pause.reset()
		}
	}
}

// discover is one attempt: discover, offer, request, acknowledgement. The attempt lasts as long as wait; what is left
// of it is returned with an error.
func (c *client4) discover(ctx context.Context, want netip.Addr, began time.Time, wait time.Duration) (*lease4, time.Duration, error) {
	start := time.Now()
	left := func() time.Duration { return wait - time.Since(start) }
	msg := c.message(dhcpv4.MessageTypeDiscover)
	msg.NumSeconds = uint16(min(time.Since(began)/time.Second, 0xffff))
	if want.IsValid() {
		msg.UpdateOption(dhcpv4.OptRequestedIPAddress(want.AsSlice()))
	}
	var offer *lease4
	err := exchange(ctx, c.broadcast, msg.ToBytes(), wait, c.kick, func(b []byte) bool {
		m := c.answer(b, msg)
		if m == nil || m.MessageType() != dhcpv4.MessageTypeOffer {
			return false
		}
		l, err := parseLease4(m)
		if err != nil {
			c.log.Debug("DHCP offer ignored", "error", err)
			return false
		}
		offer = l
		return true
	})
	if err != nil {
		return nil, left(), err
	}
	request := c.message(dhcpv4.MessageTypeRequest)
	request.TransactionID = msg.TransactionID // RFC 2131 table 5: the offer's
	request.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.address.Addr().AsSlice()))
	request.UpdateOption(dhcpv4.OptServerIdentifier(offer.server.AsSlice()))
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		var lease *lease4
		lease, err = c.request(ctx, wait, c.broadcast, request, offer.server)
		if !errors.Is(err, errNoAnswer) {
			return lease, left(), err
		}
	}
	return nil, left(), err
}

// extend keeps a lease: it returns the renewed one, or why there is none. errKicked means that it is still valid.
func (c *client4) extend(ctx context.Context, l *lease4) (*lease4, error) {
	if err := sleep(ctx, time.Until(l.at(l.t1)), c.kick); err != nil {
		return nil, err
	}
	own := l.address.Addr()
	for _, phase := range []struct {
		until time.Time
		open  func() (packetConn, error)
	}{
		{l.at(l.t2), func() (packetConn, error) { return c.unicast(own, l.server) }},
		{l.at(l.lifetime), c.broadcast},
	} {
		for left := time.Until(phase.until); left > 0; left = time.Until(phase.until) {
			msg := c.message(dhcpv4.MessageTypeRequest)
			msg.ClientIPAddr = own.AsSlice()
			next, err := c.request(ctx, retransmit(left), phase.open, msg, netip.Addr{})
			if !errors.Is(err, errNoAnswer) {
				return next, err
			}
			c.log.Debug("DHCP lease not renewed yet", "address", own, "error", err)
		}
	}
	return nil, errExpired
}

// request sends one DHCPREQUEST and waits for its answer: from one server if server is valid, else from any.
func (c *client4) request(ctx context.Context, wait time.Duration, open func() (packetConn, error), msg *dhcpv4.DHCPv4,
	server netip.Addr) (*lease4, error) {
	sent := time.Now()
	var lease *lease4
	var refused error
	err := exchange(ctx, open, msg.ToBytes(), wait, c.kick, func(b []byte) bool {
		m := c.answer(b, msg)
		if m == nil {
			return false
		}
		from, _ := netip.AddrFromSlice(m.ServerIdentifier())
		if server.IsValid() && server != from {
			return false
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeNak:
			c.log.Warn("DHCP server refuses the address", "server", from, "message", m.Message())
			refused = errRefused
			return true
		case dhcpv4.MessageTypeAck:
			l, err := parseLease4(m)
			if err != nil {
				c.log.Debug("DHCP acknowledgement ignored", "error", err)
				return false
			}
			l.obtained = sent
			lease = l
			return true
		}
		return false
	})
	if err == nil {
		err = refused
	}
	return lease, err
}

// answer is the message in b if it answers ours, else nil.
func (c *client4) answer(b []byte, ours *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply || m.TransactionID != ours.TransactionID ||
		m.ClientHWAddr.String() != c.mac.String() {
		return nil
	}
	return m
}

// message is the frame of everything the client says.
func (c *client4) message(kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: c.mac,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: dhcpv4.Options{},
	}
	binary.BigEndian.PutUint32(m.TransactionID[:], rand.Uint32())
	m.UpdateOption(dhcpv4.OptMessageType(kind))
	// Type 1 and the MAC (RFC 2132 section 9.14): what the node's firmware said when it booted over the network.
	m.UpdateOption(dhcpv4.OptClientIdentifier(append([]byte{byte(iana.HWTypeEthernet)}, c.mac...)))
	m.UpdateOption(dhcpv4.OptMaxMessageSize(1500))
	m.UpdateOption(dhcpv4.OptParameterRequestList(
		dhcpv4.OptionSubnetMask,
		// Before the routers: some servers leave out what comes after the option that fills the packet.
		dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList,
		dhcpv4.OptionNTPServers, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionIPAddressLeaseTime,
		dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	))
	if c.hostname != "" {
		m.UpdateOption(dhcpv4.OptHostName(c.hostname))
	}
	return m
}
