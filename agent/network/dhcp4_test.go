package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// testServer4 answers like a DHCP server; its fields make it a strange one.
type testServer4 struct {
	ip, gives string
	lease     time.Duration
	nak       bool                 // to requests
	onlyOffer bool                 // requests stay without an answer
	silentTo  string               // messages that come this way ("unicast" or "broadcast") stay without an answer
	change    func(*dhcpv4.DHCPv4) // of each answer
	before    func(*dhcpv4.DHCPv4) [][]byte
}

func (s testServer4) serve(m sent) [][]byte {
	request, err := dhcpv4.FromBytes(m.payload)
	if err != nil {
		panic(err)
	}
	if s.silentTo != "" && strings.HasPrefix(m.from, s.silentTo) {
		return nil
	}
	kind := dhcpv4.MessageTypeOffer
	switch {
	case request.MessageType() == dhcpv4.MessageTypeRequest && s.onlyOffer:
		return nil
	case request.MessageType() == dhcpv4.MessageTypeRequest && s.nak:
		kind = dhcpv4.MessageTypeNak
	case request.MessageType() == dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
	}
	answer, err := dhcpv4.NewReplyFromRequest(request, dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(net.ParseIP(s.gives)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(s.ip))),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(s.lease)),
		dhcpv4.WithRouter(net.ParseIP(s.ip)), dhcpv4.WithDNS(net.ParseIP(s.ip)))
	if err != nil {
		panic(err)
	}
	if s.change != nil {
		s.change(answer)
	}
	var out [][]byte
	if s.before != nil {
		out = s.before(answer)
	}
	return append(out, answer.ToBytes())
}

var goodServer4 = testServer4{ip: "192.0.2.1", gives: "192.0.2.17", lease: time.Hour}

// run4 runs a client on a wire and logs what it applies, as "time since the start: address", in the bubble's time.
type run4 struct {
	wire   wire
	kick   chan struct{}
	client *client4
	cancel context.CancelFunc
	start  time.Time
	events record[string]
	failed atomic.Int32
}

func startClient4(previous string) *run4 {
	r := &run4{kick: make(chan struct{}, 1), start: time.Now()}
	r.client = &client4{
		mac: testMAC, hostname: "shop-17", log: quiet, kick: r.kick,
		broadcast: func() (packetConn, error) { return r.wire.conn("broadcast") },
		unicast: func(from, to netip.Addr) (packetConn, error) {
			return r.wire.conn(fmt.Sprintf("unicast %s→%s", from, to))
		},
		apply: func(l *lease4) {
			what := "nothing"
			if l != nil {
				what = l.address.String()
			}
			r.events.add(fmt.Sprintf("%s: %s", time.Since(r.start).Round(time.Second), what))
		},
		failed: func(time.Duration, error) { r.failed.Add(1) },
	}
	if previous != "" {
		r.client.previous = netip.MustParseAddr(previous)
	}
	return r
}

func (r *run4) run(server testServer4) {
	r.wire.serve = server.serve
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.client.run(ctx)
}

func (r *run4) stop() {
	r.cancel()
	synctest.Wait()
}

// messages are the messages sent from the nth on: "DISCOVER broadcast".
func (r *run4) messages(n int) (list []string) {
	for _, m := range r.wire.sent()[n:] {
		p, err := dhcpv4.FromBytes(m.payload)
		if err != nil {
			panic(err)
		}
		list = append(list, p.MessageType().String()+" "+m.from)
	}
	return list
}

func TestClientGetsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		synctest.Wait()
		if want := []string{"0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Fatalf("applied %q, want %q", r.events.list(), want)
		}
		if n := r.wire.openConns(); n != 0 {
			t.Errorf("%d sockets are open while the lease is fresh, want none", n)
		}
		discover, _ := dhcpv4.FromBytes(r.wire.sent()[0].payload)
		request, _ := dhcpv4.FromBytes(r.wire.sent()[1].payload)
		if discover.HostName() != "shop-17" || discover.IsBroadcast() {
			t.Errorf("discover: %s", discover.Summary())
		}
		for _, o := range []dhcpv4.OptionCode{dhcpv4.OptionRouter, dhcpv4.OptionSubnetMask, dhcpv4.OptionDomainNameServer,
			dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionNTPServers, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute} {
			if !discover.IsOptionRequested(o) {
				t.Errorf("discover does not ask for option %s", o)
			}
		}
		if id := discover.Options.Get(dhcpv4.OptionClientIdentifier); string(id) != "\x01"+string(testMAC) {
			t.Errorf("client identifier is %x", id)
		}
		if request.TransactionID != discover.TransactionID || !request.ServerIdentifier().Equal(net.ParseIP("192.0.2.1")) ||
			!request.RequestedIPAddress().Equal(net.ParseIP("192.0.2.17")) || !request.ClientIPAddr.IsUnspecified() {
			t.Errorf("request: %s", request.Summary())
		}
		r.stop()
	})
}

func TestClientAsksForThePreviousAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("192.0.2.99")
		r.run(goodServer4)
		synctest.Wait()
		discover, _ := dhcpv4.FromBytes(r.wire.sent()[0].payload)
		if !discover.RequestedIPAddress().Equal(net.ParseIP("192.0.2.99")) {
			t.Errorf("discover asks for %s", discover.RequestedIPAddress())
		}
		r.stop()
	})
}

func TestClientAsksForeverWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(testServer4{silentTo: "broadcast"})
		pass(10 * time.Minute)
		list := r.wire.sent()
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			gap := list[i+1].at.Sub(list[i].at)
			if want *= time.Second; gap > want || gap < want*8/10 {
				t.Errorf("gap %d is %s, want up to a fifth less than %s", i, gap, want)
			}
		}
		if n := r.failed.Load(); n < 10 {
			t.Errorf("failed was called %d times", n)
		}
		r.wire.setServer(goodServer4.serve)
		pass(61 * time.Second)
		if len(r.events.list()) != 1 {
			t.Errorf("applied %q after the server came back, want one lease", r.events.list())
		}
		r.stop()
	})
}

func TestLeaseIsRenewedByUnicastAtT1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		pass(31 * time.Minute)
		if want := []string{"REQUEST unicast 192.0.2.17→192.0.2.1"}; !slices.Equal(r.messages(2), want) {
			t.Errorf("sent %q, want %q", r.messages(2), want)
		}
		renew, _ := dhcpv4.FromBytes(r.wire.sent()[2].payload)
		if !renew.ClientIPAddr.Equal(net.ParseIP("192.0.2.17")) || renew.ServerIdentifier() != nil || renew.RequestedIPAddress() != nil {
			t.Errorf("renewal: %s", renew.Summary())
		}
		if want := []string{"0s: 192.0.2.17/24", "30m0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestLeaseIsReboundAtT2WhenItsServerIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		server := goodServer4
		server.silentTo = "unicast"
		r.run(server)
		pass(53 * time.Minute) // T2 is at 52:30
		list := r.messages(2)
		if n := len(list); n < 3 || n > 10 {
			t.Errorf("%d messages between T1 and T2: %q", n, list)
		}
		if list[len(list)-1] != "REQUEST broadcast" || list[len(list)-2] == "REQUEST broadcast" {
			t.Errorf("sent %q, want unicasts and then one broadcast", list)
		}
		if want := []string{"0s: 192.0.2.17/24", "52m30s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestExpiredLeaseIsRemovedAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		synctest.Wait()
		r.wire.setServer(nil)
		pass(61 * time.Minute)
		if want := []string{"0s: 192.0.2.17/24", "1h0m0s: nothing"}; !slices.Equal(r.events.list(), want) {
			t.Fatalf("applied %q, want %q", r.events.list(), want)
		}
		r.wire.setServer(testServer4{ip: "192.0.2.2", gives: "192.0.2.18", lease: time.Hour}.serve)
		pass(time.Minute)
		if last := r.events.list()[len(r.events.list())-1]; !strings.HasSuffix(last, "192.0.2.18/24") {
			t.Errorf("applied %q after a new server came", last)
		}
		r.stop()
	})
}

func TestRefusedRenewalRemovesTheAddressAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		synctest.Wait()
		server := goodServer4
		server.nak = true
		r.wire.setServer(server.serve)
		pass(30*time.Minute + 5*time.Second)
		if want := []string{"0s: 192.0.2.17/24", "30m0s: nothing"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestServerThatOffersAndRefusesDoesNotMakeTheClientSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("192.0.2.17")
		server := goodServer4
		server.nak = true
		r.run(server)
		pass(time.Hour)
		// A discover and a request in each attempt, an attempt a minute.
		if n := len(r.wire.sent()); n > 2*90 || n < 2*50 {
			t.Errorf("%d messages in an hour", n)
		}
		if len(r.events.list()) != 0 {
			t.Errorf("applied %q", r.events.list())
		}
		r.stop()
	})
}

func TestServerThatOnlyOffersDoesNotMakeTheClientSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		server := goodServer4
		server.onlyOffer = true
		r.run(server)
		pass(time.Hour)
		if n := len(r.wire.sent()); n > 4*90 {
			t.Errorf("%d messages in an hour", n)
		}
		r.stop()
	})
}

func TestShortestLeaseDoesNotMakeTheClientSpin(t *testing.T) {
	for _, lease := range []time.Duration{0, time.Second, 59 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := startClient4("")
			server := goodServer4
			server.lease = lease
			server.change = func(m *dhcpv4.DHCPv4) {
				m.UpdateOption(dhcpv4.OptRenewTimeValue(0))
				m.UpdateOption(dhcpv4.OptRebindingTimeValue(0))
			}
			r.run(server)
			pass(time.Hour + time.Second)
			// It counts as a minute: a renewal every 30 s.
			if n := len(r.wire.sent()); n != 2+120 {
				t.Errorf("lease of %s: %d messages in an hour, want 122", lease, n)
			}
			if last := r.events.list()[len(r.events.list())-1]; strings.Contains(last, "nothing") {
				t.Errorf("lease of %s was lost: %q", lease, r.events.list())
			}
			r.stop()
		})
	}
}

func TestInfiniteLeaseIsKeptWithoutAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		server := goodServer4
		server.lease = dhcpv4.MaxLeaseTime
		r.run(server)
		pass(10 * 365 * 24 * time.Hour)
		if n := len(r.wire.sent()); n != 2 {
			t.Errorf("%d messages in ten years, want 2", n)
		}
		r.stop()
	})
}

func TestAnswersThatAreNotForUsAreIgnored(t *testing.T) {
	wrong := map[string]func(*dhcpv4.DHCPv4){
		"another transaction":  func(m *dhcpv4.DHCPv4) { m.TransactionID[0] ^= 1 },
		"another client":       func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = net.HardwareAddr{2, 0, 0, 0, 0, 1} },
		"a request":            func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootRequest },
		"no address":           func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4zero },
		"a multicast address":  func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(224, 0, 0, 1) },
		"a broadcast address":  func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4bcast },
		"a loopback address":   func(m *dhcpv4.DHCPv4) { m.YourIPAddr = net.IPv4(127, 0, 0, 1) },
		"no server identifier": func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionServerIdentifier) },
		"short server":         func(m *dhcpv4.DHCPv4) { m.Options[54] = []byte{1, 2} },
		"no message type":      func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionDHCPMessageType) },
	}
	for name, change := range wrong {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startClient4("")
				server := goodServer4
				// First the wrong answer, then garbage, then the right one.
				server.before = func(m *dhcpv4.DHCPv4) [][]byte {
					bad, err := dhcpv4.FromBytes(m.ToBytes())
					if err != nil {
						panic(err)
					}
					change(bad)
					return [][]byte{bad.ToBytes(), {}, []byte("garbage"), m.ToBytes()[:241]}
				}
				r.run(server)
				synctest.Wait()
				if want := []string{"0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
					t.Errorf("applied %q, want %q", r.events.list(), want)
				}
				r.stop()
			})
			synctest.Test(t, func(t *testing.T) {
				r := startClient4("")
				server := goodServer4
				server.change = change
				r.run(server)
				pass(10 * time.Minute)
				if len(r.events.list()) != 0 {
					t.Errorf("applied %q", r.events.list())
				}
				r.stop()
			})
		})
	}
}

func TestOtherServersAcknowledgementIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		server := goodServer4
		server.before = func(m *dhcpv4.DHCPv4) [][]byte {
			if m.MessageType() == dhcpv4.MessageTypeOffer {
				return nil
			}
			rogue := testServer4{ip: "192.0.2.66", gives: "192.0.2.67", lease: time.Hour}
			bad, _ := dhcpv4.FromBytes(m.ToBytes())
			bad.YourIPAddr = net.ParseIP(rogue.gives)
			bad.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(rogue.ip)))
			nak, _ := dhcpv4.FromBytes(bad.ToBytes())
			nak.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			return [][]byte{bad.ToBytes(), nak.ToBytes()}
		}
		r.run(server)
		synctest.Wait()
		if want := []string{"0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestCarrierReturnConfirmsTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		pass(time.Minute)
		r.kick <- struct{}{}
		synctest.Wait()
		if want := []string{"REQUEST broadcast"}; !slices.Equal(r.messages(2), want) {
			t.Errorf("sent %q, want %q", r.messages(2), want)
		}
		confirm, _ := dhcpv4.FromBytes(r.wire.sent()[2].payload)
		if !confirm.RequestedIPAddress().Equal(net.ParseIP("192.0.2.17")) || confirm.ServerIdentifier() != nil || !confirm.ClientIPAddr.IsUnspecified() {
			t.Errorf("confirmation: %s", confirm.Summary())
		}
		if want := []string{"0s: 192.0.2.17/24", "1m0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestCarrierReturnInAnotherNetworkGetsAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		pass(time.Minute)
		// This network's server knows nothing of the old address and says nothing about it.
		other := testServer4{ip: "198.51.100.1", gives: "198.51.100.5", lease: time.Hour}
		r.wire.setServer(func(m sent) [][]byte {
			p, _ := dhcpv4.FromBytes(m.payload)
			if p.MessageType() == dhcpv4.MessageTypeRequest && p.ServerIdentifier() == nil {
				return nil
			}
			return other.serve(m)
		})
		r.kick <- struct{}{}
		pass(5 * time.Second)
		if want := []string{"0s: 192.0.2.17/24", "1m3s: 198.51.100.5/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestCarrierReturnWithoutAServerKeepsTheLeaseUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(goodServer4)
		pass(time.Minute)
		r.wire.setServer(nil)
		r.kick <- struct{}{}
		pass(58 * time.Minute)
		if want := []string{"0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q before the expiry, want %q", r.events.list(), want)
		}
		pass(2 * time.Minute)
		if want := []string{"0s: 192.0.2.17/24", "1h0m0s: nothing"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestCarrierReturnDuringBackOffAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		r.run(testServer4{silentTo: "broadcast"})
		pass(10 * time.Minute)
		r.wire.setServer(goodServer4.serve)
		r.kick <- struct{}{}
		synctest.Wait()
		if want := []string{"10m0s: 192.0.2.17/24"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		r.stop()
	})
}

func TestSocketThatCannotBeOpenedDoesNotMakeTheClientSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startClient4("")
		var tries atomic.Int32
		var last record[error]
		r.client.broadcast = func() (packetConn, error) { tries.Add(1); return nil, fmt.Errorf("network is down") }
		r.client.failed = func(_ time.Duration, err error) { last.add(err) }
		r.run(goodServer4)
		pass(time.Hour)
		if n := tries.Load(); n > 90 {
			t.Errorf("%d tries in an hour", n)
		}
		if errs := last.list(); len(errs) == 0 || !strings.Contains(errs[0].Error(), "network is down") {
			t.Errorf("the errors are %v", errs)
		}
		r.stop()
	})
}
