package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// testServer6 answers like a DHCPv6 server.
type testServer6 struct {
	id               byte
	gives            string
	preferred, valid time.Duration
	change           func(*dhcpv6.Message)
	silentTo         dhcpv6.MessageType
}

func (s testServer6) serve(m sent) [][]byte {
	request, err := dhcpv6.MessageFromBytes(m.payload)
	if err != nil {
		panic(err)
	}
	if request.MessageType == s.silentTo {
		return nil
	}
	answer := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: request.TransactionID}
	if request.MessageType == dhcpv6.MessageTypeSolicit {
		answer.MessageType = dhcpv6.MessageTypeAdvertise
	}
	answer.AddOption(dhcpv6.OptClientID(request.Options.ClientID()))
	answer.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDUUID{UUID: [16]byte{s.id}}))
	answer.AddOption(dhcpv6.OptDNS(net.ParseIP("2001:db8::53")))
	if ia := request.Options.OneIANA(); ia != nil {
		reply := &dhcpv6.OptIANA{IaId: ia.IaId}
		reply.Options.Add(&dhcpv6.OptIAAddress{
			IPv6Addr: net.ParseIP(s.gives), PreferredLifetime: s.preferred, ValidLifetime: s.valid,
		})
		answer.AddOption(reply)
	}
	if s.change != nil {
		s.change(answer)
	}
	return [][]byte{[]byte("garbage"), {}, answer.ToBytes()}
}

var goodServer6 = testServer6{id: 1, gives: "2001:db8::17", preferred: time.Hour, valid: 2 * time.Hour}

type run6 struct {
	wire   wire
	kick   chan struct{}
	client *client6
	start  time.Time
	events record[string]
}

func startClient6() *run6 {
	r := &run6{kick: make(chan struct{}, 1), start: time.Now(), client: newClient6(testMAC, 0)}
	r.client.log, r.client.kick = quiet, r.kick
	r.client.open = func() (packetConn, error) { return r.wire.conn("dhcp6") }
	r.client.failed = func(time.Duration, error) {}
	r.client.apply = func(l *lease6) {
		what := "nothing"
		if l != nil {
			what = "information"
			if len(l.addresses) > 0 {
				what = l.addresses[0].prefix.String()
			}
		}
		r.events.add(fmt.Sprintf("%s: %s", time.Since(r.start).Round(time.Second), what))
	}
	return r
}

func (r *run6) messages() (list []string) {
	for _, m := range r.wire.sent() {
		p, err := dhcpv6.MessageFromBytes(m.payload)
		if err != nil {
			panic(err)
		}
		list = append(list, p.MessageType.String())
	}
	return list
}

// in6 runs body in a bubble with a client that talks to the server.
func in6(t *testing.T, server testServer6, run func(*client6, context.Context), body func(*testing.T, *run6)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := startClient6()
		r.wire.setServer(server.serve)
		ctx, cancel := context.WithCancel(t.Context())
		go run(r.client, ctx)
		body(t, r)
		cancel()
		synctest.Wait()
	})
}

func TestClient6GetsAnAddressAndRenewsIt(t *testing.T) {
	in6(t, goodServer6, (*client6).run, func(t *testing.T, r *run6) {
		pass(31 * time.Minute)
		if want := []string{"SOLICIT", "REQUEST", "RENEW"}; !slices.Equal(r.messages(), want) {
			t.Errorf("sent %q, want %q", r.messages(), want)
		}
		if want := []string{"0s: 2001:db8::17/128", "30m0s: 2001:db8::17/128"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		renew, _ := dhcpv6.MessageFromBytes(r.wire.sent()[2].payload)
		if renew.Options.ServerID() == nil || renew.Options.OneIANA().Options.OneAddress().IPv6Addr.String() != "2001:db8::17" {
			t.Errorf("renewal: %s", renew.Summary())
		}
		duid := renew.Options.ClientID()
		if want := (&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: testMAC}); !want.Equal(duid) {
			t.Errorf("client identifier %s, want %s", duid, want)
		}
		if n := r.wire.openConns(); n != 0 {
			t.Errorf("%d sockets are open at rest", n)
		}
	})
}

func TestLease6IsReboundAndThenExpires(t *testing.T) {
	in6(t, goodServer6, (*client6).run, func(t *testing.T, r *run6) {
		synctest.Wait()
		server := goodServer6
		server.silentTo = dhcpv6.MessageTypeRenew
		r.wire.setServer(server.serve)
		pass(50 * time.Minute) // T2 is at 48 min: 0.8 of the preferred lifetime
		if want := []string{"0s: 2001:db8::17/128", "48m0s: 2001:db8::17/128"}; !slices.Equal(r.events.list(), want) {
			t.Fatalf("applied %q, want %q", r.events.list(), want)
		}
		r.wire.setServer(nil)
		pass(3 * time.Hour)
		if last := r.events.list()[len(r.events.list())-1]; last != "2h48m0s: nothing" || len(r.events.list()) != 3 {
			t.Errorf("applied %q", r.events.list())
		}
		if n := len(r.messages()); n > 250 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestClient6IgnoresStrangeAnswers(t *testing.T) {
	for name, change := range map[string]func(*dhcpv6.Message){
		"another transaction": func(m *dhcpv6.Message) { m.TransactionID[0] ^= 1 },
		"another client": func(m *dhcpv6.Message) {
			m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{}))
		},
		"no client":    func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionClientID) },
		"no server":    func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionServerID) },
		"no identity":  func(m *dhcpv6.Message) { m.Options.Del(dhcpv6.OptionIANA) },
		"another IAID": func(m *dhcpv6.Message) { m.Options.OneIANA().IaId[0] ^= 1 },
		"no address":   func(m *dhcpv6.Message) { m.Options.OneIANA().Options.Options = nil },
		"multicast": func(m *dhcpv6.Message) {
			m.Options.OneIANA().Options.OneAddress().IPv6Addr = net.ParseIP("ff02::1")
		},
		"no lifetime": func(m *dhcpv6.Message) {
			a := m.Options.OneIANA().Options.OneAddress()
			a.PreferredLifetime, a.ValidLifetime = 0, 0
		},
		"preferred for longer than valid": func(m *dhcpv6.Message) {
			m.Options.OneIANA().Options.OneAddress().PreferredLifetime = 3 * time.Hour
		},
		"no addresses available": func(m *dhcpv6.Message) {
			m.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail})
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := goodServer6
			server.change = change
			in6(t, server, (*client6).run, func(t *testing.T, r *run6) {
				pass(time.Hour)
				if len(r.events.list()) != 0 {
					t.Errorf("applied %q", r.events.list())
				}
				if n := len(r.messages()); n > 60 {
					t.Errorf("%d messages in an hour", n)
				}
				r.wire.setServer(goodServer6.serve)
				pass(2 * time.Minute)
				if len(r.events.list()) != 1 {
					t.Errorf("applied %q after a good answer", r.events.list())
				}
			})
		})
	}
}

func TestServer6ThatAdvertisesAndRefusesDoesNotMakeTheClientSpin(t *testing.T) {
	server := goodServer6
	server.change = func(m *dhcpv6.Message) {
		if m.MessageType == dhcpv6.MessageTypeReply {
			m.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusUnspecFail})
		}
	}
	in6(t, server, (*client6).run, func(t *testing.T, r *run6) {
		pass(time.Hour)
		if n := len(r.messages()); n > 100 || len(r.events.list()) != 0 {
			t.Errorf("%d messages, applied %q", n, r.events.list())
		}
	})
}

func TestShortestLease6DoesNotMakeTheClientSpin(t *testing.T) {
	server := goodServer6
	server.preferred, server.valid = time.Second, time.Second
	in6(t, server, (*client6).run, func(t *testing.T, r *run6) {
		pass(time.Hour)
		if n := len(r.messages()); n > 130 {
			t.Errorf("%d messages in an hour", n)
		}
	})
}

func TestInformationIsRefreshed(t *testing.T) {
	server := goodServer6
	server.change = func(m *dhcpv6.Message) { m.AddOption(dhcpv6.OptInformationRefreshTime(time.Second)) }
	in6(t, server, (*client6).inform, func(t *testing.T, r *run6) {
		pass(11 * time.Minute)
		if want := []string{"INFORMATION-REQUEST", "INFORMATION-REQUEST"}; !slices.Equal(r.messages(), want) {
			t.Errorf("sent %q, want %q", r.messages(), want)
		}
		if want := []string{"0s: information", "10m0s: information"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
	})
}

func TestCarrierReturnAsksForTheSameAddress6(t *testing.T) {
	in6(t, goodServer6, (*client6).run, func(t *testing.T, r *run6) {
		pass(time.Minute)
		r.kick <- struct{}{}
		synctest.Wait()
		if want := []string{"0s: 2001:db8::17/128", "1m0s: 2001:db8::17/128"}; !slices.Equal(r.events.list(), want) {
			t.Errorf("applied %q, want %q", r.events.list(), want)
		}
		solicit, _ := dhcpv6.MessageFromBytes(r.wire.sent()[2].payload)
		if got := solicit.Options.OneIANA().Options.OneAddress(); got == nil || got.IPv6Addr.String() != "2001:db8::17" {
			t.Errorf("solicit: %s", solicit.Summary())
		}
	})
}

func FuzzLease6(f *testing.F) {
	client := newClient6(testMAC, 0)
	request := client.message(dhcpv6.MessageTypeRequest, time.Now())
	client.addIdentity(request, nil)
	for _, b := range goodServer6.serve(sent{payload: request.ToBytes()}) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		m, err := dhcpv6.MessageFromBytes(b)
		if err != nil {
			return
		}
		_ = m.Options.ClientID()
		for _, information := range []bool{false, true} {
			l, err := parseLease6(m, client.iaid, information)
			if err != nil {
				continue
			}
			if !information && (l.t1 < minT1 || l.t1 >= l.t2 || l.t2 >= l.lifetime || len(l.addresses) == 0) {
				t.Errorf("lease %+v", l)
			}
			if information && l.t1 < minRefresh {
				t.Errorf("refresh after %s", l.t1)
			}
			for _, a := range l.addresses {
				if !unicast(a.prefix.Addr()) || a.prefix.Bits() != 128 || a.preferred > a.valid {
					t.Errorf("address %+v", a)
				}
			}
		}
	})
}

func TestVLANsHaveTheirOwnIdentity(t *testing.T) {
	seen := map[[4]byte]int{}
	for id := range 4095 {
		c := newClient6(testMAC, id)
		if other, dup := seen[c.iaid]; dup {
			t.Fatalf("VLANs %d and %d have the same IAID", id, other)
		}
		seen[c.iaid] = id
	}
	if a := newClient6(testMAC, 0).iaid; netip.AddrFrom4(a) != netip.AddrFrom4([4]byte(testMAC[2:])) {
		t.Errorf("IAID %x", a)
	}
}
