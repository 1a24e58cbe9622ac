package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	testMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x17}
	quiet   = slog.New(slog.DiscardHandler)
)

// wire is a network with one server on it: a function from what a client sends to what it hears. It can be given
// another server at any time.
type wire struct {
	mu    sync.Mutex
	serve func(sent) [][]byte
	log   []sent
	open  map[*wireConn]bool
}

// sent is one message of a client.
type sent struct {
	at      time.Time
	from    string // "broadcast", "unicast A→B" or "dhcp6"
	payload []byte
}

func (w *wire) setServer(serve func(sent) [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serve = serve
}

func (w *wire) sent() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

func (w *wire) conn(from string) (packetConn, error) {
	c := &wireConn{wire: w, from: from, in: make(chan []byte, 64), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[*wireConn]bool{}
	}
	w.open[c] = true
	return c, nil
}

// openConns is how many sockets are open now.
func (w *wire) openConns() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open)
}

type wireConn struct {
	wire   *wire
	from   string
	in     chan []byte
	closed chan struct{}
}

func (c *wireConn) Send(b []byte) error {
	c.wire.mu.Lock()
	m := sent{time.Now(), c.from, slices.Clone(b)}
	c.wire.log = append(c.wire.log, m)
	serve := c.wire.serve
	c.wire.mu.Unlock()
	if serve != nil {
		for _, answer := range serve(m) {
			c.in <- answer
		}
	}
	return nil
}

func (c *wireConn) Read(b []byte) (int, error) {
	select {
	case p := <-c.in:
		return copy(b, p), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.open, c)
	c.wire.mu.Unlock()
	close(c.closed)
	return nil
}

// fakeRouters is a routerConn that a test speaks through.
type fakeRouters struct {
	in       chan advertisement
	closed   chan struct{}
	mu       sync.Mutex
	solicits []time.Time
}

func newFakeRouters() *fakeRouters {
	return &fakeRouters{in: make(chan advertisement, 8), closed: make(chan struct{})}
}

func (f *fakeRouters) Solicit() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.solicits = append(f.solicits, time.Now())
	return nil
}

func (f *fakeRouters) solicited() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.solicits)
}

func (f *fakeRouters) Read() (advertisement, error) {
	select {
	case a := <-f.in:
		return a, nil
	case <-f.closed:
		return advertisement{}, net.ErrClosed
	}
}

func (f *fakeRouters) Close() error { close(f.closed); return nil }

// fakeSockets has one wire for each protocol and one router connection for each link.
type fakeSockets struct {
	v4, v6 wire
	mu     sync.Mutex
	ra     map[string]*fakeRouters
}

func (s *fakeSockets) DHCP4(link) (packetConn, error) { return s.v4.conn("broadcast") }
func (s *fakeSockets) DHCP6(link) (packetConn, error) { return s.v6.conn("dhcp6") }
func (s *fakeSockets) DHCP4Unicast(_ link, from, to netip.Addr) (packetConn, error) {
	return s.v4.conn(fmt.Sprintf("unicast %s→%s", from, to))
}

func (s *fakeSockets) Routers(l link) (routerConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ra == nil {
		s.ra = map[string]*fakeRouters{}
	}
	s.ra[l.name] = newFakeRouters()
	return s.ra[l.name], nil
}

func (s *fakeSockets) routers(name string) *fakeRouters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ra[name]
}

// fakeKernel keeps what it is told. Addresses become usable at once.
type fakeKernel struct {
	mu     sync.Mutex
	events chan event
	links  map[int]link
	addrs  map[int][]address
	routes map[route]bool
	mtus   map[int]int
	up     []int
	vlans  []string
	taken  []string // addresses that were removed
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		events: make(chan event, 256), links: map[int]link{}, addrs: map[int][]address{}, routes: map[route]bool{},
		mtus: map[int]int{},
	}
}

func (k *fakeKernel) Watch(ctx context.Context) (<-chan event, error) {
	out := make(chan event)
	go func() {
		defer close(out)
		for {
			select {
			case e := <-k.events:
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// plug makes a link appear, or changes it.
func (k *fakeKernel) plug(l link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links[l.index] = l
	k.events <- event{kind: linkChange, link: l}
}

func (k *fakeKernel) unplug(index int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.links[index]
	delete(k.links, index)
	delete(k.addrs, index)
	for r := range k.routes {
		if r.link == index {
			delete(k.routes, r)
		}
	}
	k.events <- event{kind: linkGone, link: l}
}

func (k *fakeKernel) setCarrier(index int, carrier bool) {
	k.mu.Lock()
	l := k.links[index]
	k.mu.Unlock()
	l.carrier = carrier
	k.plug(l)
}

func (k *fakeKernel) Addresses(index int) ([]address, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.addrs[index]), nil
}

func (k *fakeKernel) Loopback() error { return nil }

func (k *fakeKernel) SetUp(index int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.up = append(k.up, index)
	return nil
}

func (k *fakeKernel) SetMTU(index, mtu int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if mtu > 9000 {
		return fmt.Errorf("invalid argument")
	}
	k.mtus[index] = mtu
	return nil
}

func (k *fakeKernel) AddVLAN(parent int, name string, id int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vlans = append(k.vlans, name)
	l := link{index: 1000 + id, name: name, kind: "vlan", mac: k.links[parent].mac, ethernet: true, carrier: true, mtu: 1500}
	k.links[l.index] = l
	k.events <- event{kind: linkChange, link: l}
	return nil
}

func (k *fakeKernel) AddAddress(index int, a address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	a.usable = true
	k.addrs[index] = slices.DeleteFunc(k.addrs[index], func(x address) bool { return x.prefix == a.prefix })
	k.addrs[index] = append(k.addrs[index], a)
	k.events <- event{kind: addressChange, link: link{index: index}}
	return nil
}

func (k *fakeKernel) RemoveAddress(index int, p netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken = append(k.taken, p.String())
	before := len(k.addrs[index])
	k.addrs[index] = slices.DeleteFunc(k.addrs[index], func(x address) bool { return x.prefix == p })
	if len(k.addrs[index]) == before {
		return fmt.Errorf("no address %s on link %d", p, index)
	}
	k.events <- event{kind: addressChange, link: link{index: index}}
	return nil
}

func (k *fakeKernel) AddRoute(r route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for old := range k.routes { // like NLM_F_REPLACE: the key is destination and metric
		if old.dst == r.dst && old.metric == r.metric {
			delete(k.routes, old)
		}
	}
	k.routes[r] = true
	return nil
}

func (k *fakeKernel) RemoveRoute(r route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.routes, r)
	return nil
}

func (k *fakeKernel) prefixes(index int) (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.addrs[index] {
		list = append(list, a.prefix.String())
	}
	return list
}

// removed are the addresses that were taken away.
func (k *fakeKernel) removed() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.taken)
}

// defaults are the gateways of the default routes, best metric first.
func (k *fakeKernel) defaults() (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var routes []route
	for r := range k.routes {
		if r.isDefault() {
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b route) int { return a.metric - b.metric })
	for _, r := range routes {
		list = append(list, r.gateway.String())
	}
	return list
}

// hardware makes a sysfs in which the named links have a device with a driver.
func hardware(t *testing.T, driverOf map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, driver := range driverOf {
		device := filepath.Join(root, "class/net", name, "device")
		if err := os.MkdirAll(device, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../../bus/drivers/"+driver, filepath.Join(device, "driver")); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// parameters makes a /proc/sys with IPv6 for the named links.
func parameters(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		for _, p := range []string{
			"ipv4/conf/%s/promote_secondaries", "ipv6/conf/%s/disable_ipv6", "ipv6/conf/%s/accept_ra", "ipv6/conf/%s/autoconf",
			"ipv6/conf/%s/use_tempaddr", "ipv6/conf/%s/ra_defrtr_metric",
		} {
			path := filepath.Join(root, "net", fmt.Sprintf(p, name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// pass lets a bubble's time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// record is a list that one goroutine writes and another reads.
type record[T any] struct {
	mu      sync.Mutex
	entries []T
}

func (r *record[T]) add(x T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, x)
}

func (r *record[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries)
}
