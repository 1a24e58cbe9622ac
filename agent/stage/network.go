package stage

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/network"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/nodeconfig"
)

// The boot waits this long for an address. Then it goes on, and the network
// keeps trying.
const (
	onlineWait = 20 * time.Second
	// noCableWait is enough to see that no cable is plugged in.
	noCableWait = 5 * time.Second
	// otherCardsAfter is more than a DHCP server on a good link needs.
	otherCardsAfter = 1500 * time.Millisecond
)

// startNetwork names the node, brings its interfaces up, and waits a while for
// an address.
func (n *node) startNetwork(ctx context.Context) error {
	n.newClock()
	if n.hostname = n.config.Hostname; n.hostname == "" {
		n.hostname = n.ownHostname()
	}
	if err := unix.Sethostname([]byte(n.hostname)); err != nil {
		return err
	}
	n.status.Update(func(s *status.Status) { s.Hostname = n.hostname })
	var err error
	n.network, err = network.Start(n.life, networkConfig(n.config.Network), network.Options{
		Log: n.log, ResolvConf: resolvConf, Hostname: n.hostname, LeaseDir: stateDir + "/leases", OnChange: n.showNetwork,
	})
	if err != nil {
		return err
	}
	return n.waitOnline(ctx)
}

// ownHostname is the name of a node whose config gives none.
func (n *node) ownHostname() string {
	mac := firstMAC(netClass)
	name := nodeconfig.DefaultHostname(n.release.board, mac)
	if mac == nil {
		return name
	}
	name, err := identity.Hostname(stateDir, name)
	if err != nil {
		n.log.Warn("the node may have another name next time", "err", err)
	}
	return name
}

// waitOnline waits for an address for as long as one may be expected.
func (n *node) waitOnline(ctx context.Context) error {
	started := time.Now()
	defer func() {
		n.networkWait = time.Since(started)
		n.networkAsked.Store(true)
		n.showNetwork(n.network.State())
	}()
	wait, cancel := context.WithTimeout(ctx, onlineWait)
	defer cancel()
	timer := time.AfterFunc(noCableWait, func() {
		if !hasCarrier(n.network.State()) {
			cancel()
		}
	})
	defer timer.Stop()
	// The cable may be in a card that was not urgent.
	others := time.AfterFunc(otherCardsAfter, func() { n.background("modules", func() { n.settle(n.life) }) })
	defer others.Stop()
	err := n.network.WaitOnline(wait)
	if errors.Is(wait.Err(), context.Canceled) && err != nil {
		return errors.New("no cable is plugged in; the node goes on without a network and uses it when it comes")
	}
	return err
}

func hasCarrier(s network.State) bool {
	return slices.ContainsFunc(s.Interfaces, func(i network.InterfaceState) bool { return i.Carrier })
}

// showNetwork keeps addresses and troubles of the network current.
func (n *node) showNetwork(s network.State) {
	n.status.Update(func(now *status.Status) { now.Addresses = s.Addresses })
	n.clock.SetDHCPServers(s.NTPServers)
	if s.Online {
		n.clock.Wake()
	}
	if len(s.Problems) > 0 && n.networkAsked.Load() {
		n.status.Report("network", strings.Join(s.Problems, "; "))
	} else if s.Online {
		n.status.Clear("network")
	}
}

// netClass has a folder for each network interface.
const netClass = "/sys/class/net"

// firstMAC returns the address of the first wired interface, by name; nil if
// there is none.
func firstMAC(class string) net.HardwareAddr {
	names, err := filepath.Glob(filepath.Join(class, "*", "device"))
	if err != nil {
		return nil
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "address"))
		if err != nil {
			continue
		}
		if mac, err := net.ParseMAC(strings.TrimSpace(string(text))); err == nil {
			return mac
		}
	}
	return nil
}

// networkConfig turns the node config's network into the network package's.
func networkConfig(c nodeconfig.Network) network.Config {
	config := network.Config{Nameservers: c.Nameservers}
	for _, i := range c.Interfaces {
		out := network.Interface{
			Match:     network.Match{Name: i.Match.Name, Driver: i.Match.Driver},
			Addresses: i.Addresses, MTU: i.MTU, DHCP: i.DHCP,
		}
		if i.Match.MAC != nil {
			out.Match.MAC = net.HardwareAddr(i.Match.MAC[:])
		}
		out.Gateway4, out.Gateway6 = gateways(i.Gateway)
		for _, v := range i.VLANs {
			vlan := network.VLAN{ID: v.ID, Addresses: v.Addresses, MTU: v.MTU, DHCP: v.DHCP}
			vlan.Gateway4, vlan.Gateway6 = gateways(v.Gateway)
			out.VLANs = append(out.VLANs, vlan)
		}
		config.Interfaces = append(config.Interfaces, out)
	}
	return config
}

// gateways sorts a gateway by its family; the other is the zero Addr.
func gateways(a netip.Addr) (v4, v6 netip.Addr) {
	if a.Is4() {
		return a, v6
	}
	return v4, a
}
