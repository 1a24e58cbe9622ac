package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// sysfs answers what rtnetlink does not tell about a link.
type sysfs struct{ root string }

// physical tells whether a device is behind the link: no veth, bridge, tun or VLAN has one.
func (s sysfs) physical(name string) bool {
	_, err := os.Stat(filepath.Join(s.root, "class/net", name, "device"))
	return err == nil
}

// wireless tells whether the link is a radio's.
func (s sysfs) wireless(name string) bool {
	for _, mark := range []string{"wireless", "phy80211"} {
		if _, err := os.Stat(filepath.Join(s.root, "class/net", name, mark)); err == nil {
			return true
		}
	}
	return false
}

// driver is the name of the device's kernel driver, or "".
func (s sysfs) driver(name string) string {
	target, err := os.Readlink(filepath.Join(s.root, "class/net", name, "device/driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// sysctls writes kernel parameters below root, which is /proc/sys.
type sysctls struct{ root string }

// ipv6 tells whether the kernel has IPv6.
func (s sysctls) ipv6() bool {
	_, err := os.Stat(filepath.Join(s.root, "net/ipv6"))
	return err == nil
}

func (s sysctls) set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(s.root, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", name, value, err)
	}
	_, err = f.WriteString(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", name, value, err)
	}
	return nil
}

// optional sets a parameter that older or smaller kernels lack.
func (s sysctls) optional(name, value string) error {
	if _, err := os.Stat(filepath.Join(s.root, name)); err != nil {
		return nil
	}
	return s.set(name, value)
}

// configure sets a link's parameters. It must run before the link is brought up: what a router says to a link that
// does not listen yet is lost until the next time it speaks.
func (s sysctls) configure(name string, set settings) error {
	// Without it, removing the first of several addresses in a subnet removes the others too.
	if err := s.optional("net/ipv4/conf/"+name+"/promote_secondaries", "1"); err != nil {
		return err
	}
	if !s.ipv6() {
		return nil
	}
	conf := "net/ipv6/conf/" + name + "/"
	if err := s.set(conf+"disable_ipv6", "0"); err != nil {
		return err
	}
	if !set.dynamic {
		if err := s.set(conf+"autoconf", "0"); err != nil {
			return err
		}
		return s.set(conf+"accept_ra", "0")
	}
	// 2, not 1: the cluster turns forwarding on, and 1 means no advertisements are accepted from then on.
	if err := s.set(conf+"accept_ra", "2"); err != nil {
		return err
	}
	if err := s.set(conf+"autoconf", "1"); err != nil {
		return err
	}
	// A node is to be found under one address: EUI-64, no temporary ones.
	if err := s.optional(conf+"use_tempaddr", "0"); err != nil {
		return err
	}
	return s.optional(conf+"ra_defrtr_metric", strconv.Itoa(set.metric))
}
