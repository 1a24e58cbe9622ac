package servicelb

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-os/skerry/cluster/config"
)

// port is one that can be taken once in a cluster.
type port struct {
	protocol corev1.Protocol
	number   int32
}

func (p port) String() string { return fmt.Sprintf("%d/%s", p.number, p.protocol) }

// ports tells who has taken which.
type ports map[port]string

// reserved are the ports at which nodes reach each other. A Service with one
// of them would take over the cluster, or cut it off.
func reserved() ports {
	return ports{
		{corev1.ProtocolTCP, config.Port}:     "the API server",
		{corev1.ProtocolTCP, config.PeerPort}: "the servers' etcd",
		{corev1.ProtocolTCP, 10250}:           "the kubelet",
		{corev1.ProtocolUDP, 8472}:            "the nodes' network (VXLAN)",
		{corev1.ProtocolUDP, 51820}:           "the nodes' network (WireGuard)",
		{corev1.ProtocolUDP, 51821}:           "the nodes' network (WireGuard)",
	}
}

// claim takes all ports of a Service, or none and says why.
func (p ports) claim(s *corev1.Service) string {
	var conflicts []string
	for _, wanted := range s.Spec.Ports {
		if owner, taken := p[port{wanted.Protocol, wanted.Port}]; taken {
			conflicts = append(conflicts, fmt.Sprintf("port %s of the nodes belongs to %s", port{wanted.Protocol, wanted.Port}, owner))
		}
	}
	if len(conflicts) > 0 {
		return strings.Join(conflicts, "; ") + ": use another port"
	}
	for _, wanted := range s.Spec.Ports {
		p[port{wanted.Protocol, wanted.Port}] = "Service " + s.Namespace + "/" + s.Name
	}
	return ""
}

// byAge orders Services: whoever was first keeps its ports.
func byAge(x, y *corev1.Service) int {
	if c := x.CreationTimestamp.Compare(y.CreationTimestamp.Time); c != 0 {
		return c
	}
	if c := strings.Compare(x.Namespace, y.Namespace); c != 0 {
		return c
	}
	return strings.Compare(x.Name, y.Name)
}
