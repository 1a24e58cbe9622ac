package config

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/util/wait"
)

// errNoAddress is what a machine without a network says.
var errNoAddress = errors.New("no network interface has an address yet")

// FindAddress returns the address by which others reach this machine: that of
// the default route, or the first of any physical interface.
func FindAddress() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, route := range routes {
		if route.Gw == nil || route.Dst != nil && !route.Dst.IP.IsUnspecified() {
			continue
		}
		if addr, ok := netip.AddrFromSlice(route.Src.To4()); ok {
			return addr, nil
		}
		if addr, ok := addressOf(route.LinkIndex); ok {
			return addr, nil
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagUp == 0 || attrs.Flags&net.FlagLoopback != 0 || link.Type() != "device" && link.Type() != "vlan" && link.Type() != "veth" {
			continue
		}
		if addr, ok := addressOf(attrs.Index); ok {
			return addr, nil
		}
	}
	return netip.Addr{}, errNoAddress
}

// addressOf returns an interface's first address that other machines can use.
func addressOf(index int) (netip.Addr, bool) {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return netip.Addr{}, false
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, address := range addresses {
		addr, ok := netip.AddrFromSlice(address.IP.To4())
		if ok && addr.IsGlobalUnicast() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// WaitForAddress fills in NodeIP, and waits until the machine has an address.
func (c *Config) WaitForAddress(ctx context.Context, waiting func()) error {
	if c.NodeIP != "" {
		return nil
	}
	return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(context.Context) (bool, error) {
		return c.address(FindAddress, waiting)
	})
}

// address fills in NodeIP if there is an address.
func (c *Config) address(find func() (netip.Addr, error), waiting func()) (found bool, err error) {
	addr, err := find()
	switch {
	case errors.Is(err, errNoAddress):
		waiting()
		return false, nil
	case errors.Is(err, netlink.ErrDumpInterrupted): // interfaces come and go meanwhile
		return false, nil
	case err != nil:
		return false, err
	}
	c.NodeIP = addr.String()
	return true, nil
}
