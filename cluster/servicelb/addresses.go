package servicelb

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// addressesFor are the addresses that a Service gets, in order: those of the
// nodes that are Ready and, if local is set, in it. While no node is Ready a
// Service keeps those it has: most likely it is the server that cannot see
// them, and their rules still hold.
func addressesFor(s *corev1.Service, nodes []*corev1.Node, local map[string]bool) []string {
	var ready, kept []netip.Addr
	anyReady := false
	for _, node := range nodes {
		if _, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]; excluded || node.DeletionTimestamp != nil {
			continue
		}
		anyReady = anyReady || isReady(node)
		for _, addr := range addressesOf(node, s.Spec.IPFamilies) {
			if isReady(node) && (local == nil || local[node.Name]) {
				ready = append(ready, addr)
			}
			if slices.ContainsFunc(s.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool { return i.IP == addr.String() }) {
				kept = append(kept, addr)
			}
		}
	}
	if !anyReady {
		ready = kept
	}
	slices.SortFunc(ready, netip.Addr.Compare)
	var addresses []string
	for _, addr := range slices.Compact(ready) {
		addresses = append(addresses, addr.String())
	}
	return addresses
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// addressesOf are a node's addresses of the given families.
func addressesOf(node *corev1.Node, families []corev1.IPFamily) []netip.Addr {
	var found []netip.Addr
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP && address.Type != corev1.NodeExternalIP {
			continue
		}
		addr, err := netip.ParseAddr(address.Address)
		if err != nil {
			continue
		}
		family := corev1.IPv6Protocol
		if addr = addr.Unmap(); addr.Is4() {
			family = corev1.IPv4Protocol
		}
		if slices.Contains(families, family) {
			found = append(found, addr)
		}
	}
	return found
}

// sameNode tells whether two states of a node mean the same here.
func sameNode(x, y *corev1.Node) bool {
	_, excludedX := x.Labels[corev1.LabelNodeExcludeBalancers]
	_, excludedY := y.Labels[corev1.LabelNodeExcludeBalancers]
	return excludedX == excludedY && isReady(x) == isReady(y) &&
		x.DeletionTimestamp.IsZero() == y.DeletionTimestamp.IsZero() &&
		slices.Equal(x.Status.Addresses, y.Status.Addresses)
}

// same tells whether a status names exactly these addresses, as those of the
// nodes themselves.
func same(status []corev1.LoadBalancerIngress, addresses []string) bool {
	return slices.EqualFunc(status, addresses, func(i corev1.LoadBalancerIngress, address string) bool {
		return i.IP == address && i.IPMode != nil && *i.IPMode == corev1.LoadBalancerIPModeVIP
	})
}
