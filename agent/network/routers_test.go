package network

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"
)

var (
	router1 = netip.MustParseAddr("fe80::1%eth0")
	router2 = netip.MustParseAddr("fe80::2%eth0")
)

func TestAdvertisementIsRead(t *testing.T) {
	b, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{
		ManagedConfiguration: true, RouterLifetime: 30 * time.Minute,
		Options: []ndp.Option{
			&ndp.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{
				netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("fe80::53"), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("::1"),
			}},
			&ndp.DNSSearchList{Lifetime: time.Minute, DomainNames: []string{"example.org"}},
			ndp.NewMTU(1400),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := parseAdvertisement(router1, decodeAdvertisement(b))
	if a.router != router1 || a.lifetime != 30*time.Minute || !a.managed || a.other {
		t.Errorf("advertisement %+v", a)
	}
	want := []lifetimed[netip.Addr]{
		{netip.MustParseAddr("2001:db8::53"), time.Hour}, {netip.MustParseAddr("fe80::53%eth0"), time.Hour},
	}
	if !slices.Equal(a.servers, want) {
		t.Errorf("servers %v, want %v", a.servers, want)
	}
	if want := []lifetimed[string]{{"example.org", time.Minute}}; !slices.Equal(a.search, want) {
		t.Errorf("search %v, want %v", a.search, want)
	}
}

func TestBadOptionDoesNotHideTheRouter(t *testing.T) {
	b, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{OtherConfiguration: true, RouterLifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, 25, 1, 0, 0, 0, 0, 0, 0) // RDNSS without a server
	ra := decodeAdvertisement(b)
	if ra == nil || !ra.OtherConfiguration || ra.RouterLifetime != time.Minute {
		t.Errorf("advertisement %+v", ra)
	}
	solicitation, _ := ndp.MarshalMessage(&ndp.RouterSolicitation{})
	for _, other := range [][]byte{nil, b[:10], solicitation} {
		if ra := decodeAdvertisement(other); ra != nil {
			t.Errorf("%x is taken for an advertisement", other)
		}
	}
}

func TestAnnouncementsLastAsLongAsTheirLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newFakeRouters()
		var states record[routerState]
		c := &routerClient{conn: conn, heard: func(s routerState) { states.add(s) }}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		go c.run(ctx)
		dns := netip.MustParseAddr("2001:db8::53")
		conn.in <- advertisement{router: router1, lifetime: time.Minute, servers: []lifetimed[netip.Addr]{{dns, 2 * time.Minute}},
			search: []lifetimed[string]{{"example.org", 3 * time.Minute}}}
		conn.in <- advertisement{router: router2, lifetime: time.Hour, other: true}
		synctest.Wait()
		last := func() routerState { l := states.list(); return l[len(l)-1] }
		if s := last(); len(s.routers) != 2 || !slices.Equal(s.servers, []netip.Addr{dns}) || !s.other || s.managed {
			t.Errorf("state %+v", s)
		}
		pass(time.Minute)
		synctest.Wait()
		if s := last(); !slices.Equal(s.routers, []netip.Addr{router2}) || len(s.servers) != 1 {
			t.Errorf("after a minute %+v", s)
		}
		pass(time.Minute)
		synctest.Wait()
		if s := last(); len(s.servers) != 0 || len(s.search) != 1 {
			t.Errorf("after two minutes %+v", s)
		}
		conn.in <- advertisement{router: router2} // it stops being a router
		synctest.Wait()
		if s := last(); len(s.routers) != 0 {
			t.Errorf("after the farewell %+v", s)
		}
		pass(48 * time.Hour)
		if n := len(states.list()); n > 8 {
			t.Errorf("%d states", n)
		}
	})
}

func TestFloodOfAnnouncementsIsBounded(t *testing.T) {
	var e expiring[netip.Addr]
	now := time.Now()
	first := netip.MustParseAddr("2001:db8::53")
	e.announce(now, first, time.Hour)
	for n := range 1000 {
		e.announce(now, netip.AddrFrom16([16]byte{0x20, 1, 14: byte(n >> 8), 15: byte(n)}), time.Hour)
	}
	if v := e.values(); len(v) != maxListed || v[0] != first {
		t.Errorf("%d values, the first is %v", len(v), v[0])
	}
}

func TestRoutersAreSolicitedUntilOneSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, kick := newFakeRouters(), make(chan struct{}, 1)
		c := &routerClient{conn: conn, kick: kick, heard: func(routerState) {}}
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		go c.run(ctx)
		pass(time.Hour)
		if n := len(conn.solicited()); n != solicitations {
			t.Errorf("%d solicitations without an answer, want %d", n, solicitations)
		}
		kick <- struct{}{}
		synctest.Wait()
		conn.in <- advertisement{router: router1, lifetime: time.Minute}
		pass(time.Hour)
		if n := len(conn.solicited()); n != solicitations+1 {
			t.Errorf("%d solicitations after the carrier came back and a router spoke, want one more", n)
		}
	})
}

func FuzzAdvertisement(f *testing.F) {
	b, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{RouterLifetime: time.Hour, Options: []ndp.Option{
		&ndp.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53")}},
		&ndp.DNSSearchList{Lifetime: time.Hour, DomainNames: []string{"example.org", "a.b"}},
		&ndp.PrefixInformation{PrefixLength: 64, Prefix: netip.MustParseAddr("2001:db8::")},
		&ndp.RouteInformation{PrefixLength: 56, Prefix: netip.MustParseAddr("2001:db8::")},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:16])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPacket {
			return
		}
		ra := decodeAdvertisement(b)
		if ra == nil {
			return
		}
		a := parseAdvertisement(router1, ra)
		if len(a.servers) > maxListed || len(a.search) > maxListed {
			t.Error("a list is too long")
		}
		for _, s := range a.servers {
			if !unicast(s.value) || s.lifetime < 0 {
				t.Errorf("server %v", s)
			}
		}
		for _, d := range a.search {
			if !domain(d.value) {
				t.Errorf("domain %q", d.value)
			}
		}
	})
}
