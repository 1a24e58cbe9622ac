package network

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

const (
	// maxNameservers and maxSearch are what resolvers and the kubelet use; the kubelet complains about more.
	maxNameservers = 3
	maxSearch      = 6
)

// resolvConf is the content of resolv.conf(5). Without a name server there is none in it: the resolver then asks the
// node itself and fails at once, and no public server learns the names that this node looks for.
func resolvConf(nameservers []netip.Addr, search []string) []byte {
	var b strings.Builder
	b.WriteString("# Written by the node agent from skerry.yaml, DHCP and router advertisements. Changes are lost.\n")
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search[:min(len(search), maxSearch)], " "))
	}
	for _, n := range nameservers[:min(len(nameservers), maxNameservers)] {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	return []byte(b.String())
}

func writeResolvConf(path string, content []byte) error {
	if err := replaceFile(path, content); err != nil {
		return fmt.Errorf("write name servers to %s: is %s writable? %w", path, filepath.Dir(path), err)
	}
	return nil
}
