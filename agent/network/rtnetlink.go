package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rtnetlink is the kernel.
type rtnetlink struct{}

var _ kernel = rtnetlink{}

func (rtnetlink) Loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	// The kernel gives lo its two addresses when it comes up.
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

// byIndex names a link to the netlink library, which looks at nothing but the index.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func (rtnetlink) SetUp(index int) error           { return netlink.LinkSetUp(byIndex(index)) }
func (rtnetlink) SetMTU(index int, mtu int) error { return netlink.LinkSetMTU(byIndex(index), mtu) }

func (rtnetlink) AddVLAN(parent int, name string, id int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, parent
	err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	there, lookErr := netlink.LinkByName(name)
	if lookErr != nil {
		return lookErr
	}
	if v, ok := there.(*netlink.Vlan); ok && v.VlanId == id && v.Attrs().ParentIndex == parent {
		return nil
	}
	return fmt.Errorf("a link %s is there already and is another one", name)
}

func (rtnetlink) Addresses(index int) ([]address, error) {
	found, err := netlink.AddrList(byIndex(index), netlink.FAMILY_ALL)
	// A dump that changed while it was read is followed by a notification, and with it by the next dump.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	list := make([]address, 0, len(found))
	for _, a := range found {
		if p, ok := toPrefix(a.IPNet); ok {
			list = append(list, address{prefix: p, usable: a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0})
		}
	}
	return list, nil
}

func (rtnetlink) AddAddress(index int, a address) error {
	return netlink.AddrReplace(byIndex(index), &netlink.Addr{
		IPNet: toIPNet(a.prefix), ValidLft: lifetime(a.valid), PreferedLft: lifetime(a.preferred),
	})
}

func (rtnetlink) RemoveAddress(index int, p netip.Prefix) error {
	err := netlink.AddrDel(byIndex(index), &netlink.Addr{IPNet: toIPNet(p)})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil // gone already, with its lifetime or its link
	}
	return err
}

func (rtnetlink) AddRoute(r route) error { return netlink.RouteReplace(toRoute(r)) }

func (rtnetlink) RemoveRoute(r route) error {
	err := netlink.RouteDel(toRoute(r))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil // gone already, with its address or its link
	}
	return err
}

func toRoute(r route) *netlink.Route {
	n := &netlink.Route{
		LinkIndex: r.link, Dst: toIPNet(r.dst), Priority: r.metric, Protocol: unix.RTPROT_STATIC,
		Table: unix.RT_TABLE_MAIN, Family: netlink.FAMILY_V6,
	}
	if r.dst.Addr().Is4() {
		n.Family = netlink.FAMILY_V4
	}
	if r.gateway.IsValid() {
		n.Gw = r.gateway.AsSlice()
	}
	if r.source.IsValid() {
		n.Src = r.source.AsSlice()
	}
	if r.dhcp {
		n.Protocol = unix.RTPROT_DHCP
	}
	if r.onLink {
		n.SetFlag(netlink.FLAG_ONLINK)
	}
	if r.linkOnly {
		n.Scope = netlink.SCOPE_LINK
	}
	return n
}

// lifetime is in seconds; to the kernel 0 without the other lifetime means for ever.
func lifetime(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(min(max(d/time.Second, 1), 1<<32-2))
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func toPrefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if a = a.Unmap(); !ok || size != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, bits), true
}

// receiveBuffer holds the burst of notifications when a cluster node starts all its pods at once.
const receiveBuffer = 1 << 20

// Watch subscribes to links and addresses. If notifications were lost (ENOBUFS), or a socket fails otherwise, it
// subscribes again, which lists everything anew.
func (k rtnetlink) Watch(ctx context.Context) (<-chan event, error) {
	links, addrs, stop, err := k.subscribe()
	if err != nil {
		return nil, err
	}
	events := make(chan event)
	go func() {
		defer close(events)
		known := map[int]bool{}
		for {
			k.forward(ctx, links, addrs, events, known)
			stop()
			for {
				if ctx.Err() != nil {
					return
				}
				if links, addrs, stop, err = k.subscribe(); err == nil {
					k.forgetVanished(ctx, events, known)
					break
				}
				select { // no memory or no descriptors: what else could make it fail?
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}
	}()
	return events, nil
}

// forgetVanished reports links as gone that went while nobody listened.
func (rtnetlink) forgetVanished(ctx context.Context, events chan<- event, known map[int]bool) {
	for index := range known {
		var missing netlink.LinkNotFoundError
		if _, err := netlink.LinkByIndex(index); !errors.As(err, &missing) {
			continue
		}
		delete(known, index)
		select {
		case events <- event{kind: linkGone, link: link{index: index}}:
		case <-ctx.Done():
			return
		}
	}
}

func (rtnetlink) subscribe() (chan netlink.LinkUpdate, chan netlink.AddrUpdate, func(), error) {
	links, addrs, done := make(chan netlink.LinkUpdate, 16), make(chan netlink.AddrUpdate, 16), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: receiveBuffer, ReceiveBufferForceSize: true,
	})
	if err != nil {
		close(done)
		return nil, nil, nil, fmt.Errorf("subscribe to link notifications of the kernel: %w", err)
	}
	err = netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: receiveBuffer, ReceiveBufferForceSize: true,
	})
	if err != nil {
		close(done)
		go drain(links)
		return nil, nil, nil, fmt.Errorf("subscribe to address notifications of the kernel: %w", err)
	}
	return links, addrs, func() {
		close(done)
		// The library's goroutines end only once what they have in hand was taken.
		go drain(links)
		go drain(addrs)
	}, nil
}

func drain[T any](ch <-chan T) {
	for range ch {
	}
}

// forward passes notifications on until ctx ends or a subscription fails.
func (rtnetlink) forward(ctx context.Context, links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate,
	events chan<- event, known map[int]bool) {
	for {
		var e event
		select {
		case <-ctx.Done():
			return
		case u, ok := <-links:
			if !ok {
				return
			}
			// A bridge that loses a port says RTM_DELLINK of the port too. The port itself stays.
			if u.IfInfomsg.Family == unix.AF_BRIDGE {
				continue
			}
			e = event{kind: linkChange, link: toLink(u.Link)}
			if u.Header.Type == unix.RTM_DELLINK {
				e.kind = linkGone
				delete(known, e.link.index)
			} else {
				known[e.link.index] = true
			}
		case u, ok := <-addrs:
			if !ok {
				return
			}
			e = event{kind: addressChange, link: link{index: u.LinkIndex}}
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return
		}
	}
}

func toLink(l netlink.Link) link {
	a := l.Attrs()
	return link{
		index: a.Index, name: a.Name, kind: l.Type(), mac: a.HardwareAddr, permMAC: a.PermHWAddr, mtu: a.MTU,
		ethernet: a.EncapType == "ether",
		// Not IFF_LOWER_UP, which comes up to a second earlier: what is sent in between is dropped (seen with veth).
		carrier: a.RawFlags&unix.IFF_RUNNING != 0 && a.RawFlags&unix.IFF_UP != 0,
	}
}
