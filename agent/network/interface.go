package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
)

// iface is one link that is configured. Its goroutines are the DHCP clients and the listener for routers. All fields
// below mu are guarded by it.
type iface struct {
	net  *Network
	id   link // index, name and address, which stay
	set  settings
	log  *slog.Logger
	ctx  context.Context
	stop context.CancelFunc
	wait sync.WaitGroup

	// One channel for each client, since each must hear of the carrier's return.
	kick4, kick6, kickRouters chan struct{}

	mu       sync.Mutex
	link     link // with the carrier and MTU of now
	started  bool // the clients run
	asking6  bool // DHCPv6 runs
	gone     bool
	current  []address
	own      map[string]owned
	lease4   *lease4
	lease6   *lease6
	routers  routerState
	problems map[string]string // by what failed
}

func newIface(n *Network, l link, set settings) *iface {
	i := &iface{
		net: n, id: l, set: set, link: l, log: n.options.Log.With("interface", l.name),
		kick4: make(chan struct{}, 1), kick6: make(chan struct{}, 1), kickRouters: make(chan struct{}, 1),
		own: map[string]owned{}, problems: map[string]string{},
	}
	i.ctx, i.stop = context.WithCancel(n.ctx)
	return i
}

// configure prepares the link and brings it up. It fails as a whole only in what it says: each part is tried.
func (i *iface) configure() {
	l := i.id
	i.problem("sysctl", i.net.sysctls.configure(l.name, i.set))
	if i.set.mtu != 0 && i.set.mtu != l.mtu {
		err := i.net.kernel.SetMTU(l.index, i.set.mtu)
		if err != nil {
			err = fmt.Errorf("set the MTU of %s to %d: %w: does the hardware support it?", l.name, i.set.mtu, err)
		}
		i.problem("mtu", err)
	}
	if i.set.dynamic && i.net.sysctls.ipv6() {
		// Before the link is up: the answer to the kernel's first solicitation is not to be missed.
		i.listen()
	}
	if err := i.net.kernel.SetUp(l.index); err != nil {
		i.problem("up", fmt.Errorf("bring up %s: %w", l.name, err))
	}
	i.setStatic()
	if l.carrier {
		i.begin()
	}
}

func (i *iface) setStatic() {
	if len(i.set.addresses) == 0 && len(i.set.gateways) == 0 {
		return
	}
	var o owned
	for _, p := range i.set.addresses {
		o.addresses = append(o.addresses, address{prefix: p})
	}
	for _, g := range i.set.gateways {
		o.routes = append(o.routes, route{
			link: i.id.index, dst: netip.PrefixFrom(unspecified(g), 0), gateway: g, metric: i.set.metric,
		})
	}
	i.replace(sourceStatic, o)
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// update takes what the kernel says of the link now. A carrier that returns wakes the clients: the cable may be
// plugged into another network.
func (i *iface) update(l link) {
	i.mu.Lock()
	returned := l.carrier && !i.link.carrier
	i.link = l
	i.mu.Unlock()
	if returned {
		i.reapply()
		if !i.begin() {
			for _, kick := range []chan struct{}{i.kick4, i.kick6, i.kickRouters} {
				select {
				case kick <- struct{}{}:
				default:
				}
			}
		}
	}
	i.net.touch()
}

// begin starts the DHCP client, once. There must be a carrier: what is asked before is lost, and waiting for the
// answer costs a second of the boot.
func (i *iface) begin() bool {
	i.mu.Lock()
	first := !i.started
	i.started = true
	i.mu.Unlock()
	if first && i.set.dynamic && len(i.id.mac) == 6 {
		i.wait.Go(i.runDHCP4)
	}
	return first
}

// problem enters err under key, or removes it if err is nil.
func (i *iface) problem(key string, err error) {
	i.mu.Lock()
	before := i.problems[key]
	if err == nil {
		delete(i.problems, key)
	} else {
		i.problems[key] = err.Error()
	}
	changed := before != i.problems[key]
	i.mu.Unlock()
	if changed {
		i.net.touch()
	}
}

// refresh reads the link's addresses from the kernel.
func (i *iface) refresh() {
	list, err := i.net.kernel.Addresses(i.id.index)
	if err != nil {
		i.log.Debug("addresses not read", "error", err)
		return
	}
	i.mu.Lock()
	i.current = list
	i.mu.Unlock()
	i.net.touch()
}

func (i *iface) mtu() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.link.mtu
}

// end stops the goroutines. With gone nothing is written to the kernel any more: the index may be another link's.
func (i *iface) end(gone bool) {
	i.mu.Lock()
	i.gone = gone
	i.mu.Unlock()
	i.stop()
	i.wait.Wait()
}
