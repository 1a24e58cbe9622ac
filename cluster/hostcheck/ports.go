package hostcheck

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/procfs"
)

// port is one that the cluster listens on.
type port struct {
	number int
	what   string
	needed func(Needs) bool
	udp    bool
	here   bool   // it is for the machine itself: on 127.0.0.1
	link   string // the interface for which the kernel itself has the port
}

func ofServer(n Needs) bool { return n.Server }
func ofNode(n Needs) bool   { return n.Node }

func between(backend string) func(Needs) bool {
	return func(n Needs) bool { return n.Node && n.Backend == backend }
}

var ports = []port{
	{number: config.Port, what: "API server", needed: ofServer},
	{number: config.PeerPort, what: "etcd of other servers", needed: func(n Needs) bool { return n.Server && n.Etcd }},
	{number: config.BalancerPort, what: "the way to the servers", needed: ofNode, here: true},
	{number: config.StreamPort, what: "containerd", needed: ofNode, here: true},
	{number: 10250, what: "kubelet", needed: ofNode},
	{number: 10248, what: "health of the kubelet", needed: ofNode, here: true},
	{number: 10249, what: "metrics of kube-proxy", needed: ofNode, here: true},
	{number: 10256, what: "health of kube-proxy", needed: ofNode, here: true},
	{number: 8472, what: "VXLAN between nodes", needed: between("vxlan"), udp: true, link: "flannel.1"},
	{number: 51820, what: "WireGuard between nodes", needed: between("wireguard-native"), udp: true, link: "flannel-wg"},
}

// own is the name of the program's processes. A part of an earlier run may be
// about to end, and a service that runs is no obstacle to its own update.
const own = "skerry"

func (h *Host) ports(needs Needs) []Finding {
	var findings []Finding
	tcp, udp := h.listeners("tcp"), h.listeners("udp")
	for _, p := range ports {
		if !p.needed(needs) {
			continue
		}
		protocol, sockets := "tcp", tcp
		if p.udp {
			protocol, sockets = "udp", udp
		}
		f := Finding{Name: fmt.Sprintf("port %d/%s", p.number, protocol), Level: OK, Text: "it is free"}
		if inode, taken := inTheWay(sockets, p); taken {
			owner := h.owner(inode)
			switch {
			case owner == own:
				f.Text = "skerry has it"
			case owner == "" && p.link != "" && h.exists("sys/class/net/"+p.link):
				f.Text = "interface " + p.link + " has it"
			default:
				if owner == "" {
					owner = "somebody"
				}
				f = Finding{f.Name, Missing, owner + " has it, and it is for " + p.what, "stop " + owner}
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// inTheWay returns the inode of a socket that stands in the way of a port.
func inTheWay(sockets []procfs.Socket, p port) (inode string, taken bool) {
	for _, s := range sockets {
		here := s.Address.Addr().IsUnspecified() || s.Address.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if int(s.Address.Port()) == p.number && (here || !p.here) {
			return s.Inode, true
		}
	}
	return "", false
}

// listeners returns the sockets of a protocol that wait for others. What cannot be
// read is in nobody's way.
func (h *Host) listeners(protocol string) (all []procfs.Socket) {
	for _, name := range []string{protocol, protocol + "6"} {
		sockets, _ := procfs.Waiting(protocol, h.read("proc/net", name))
		all = append(all, sockets...)
	}
	return all
}

// owner returns the name of a process that has a socket open; "" if none is
// found, as of sockets of the kernel and of other users' processes.
func (h *Host) owner(inode string) string {
	descriptors, _ := filepath.Glob(h.path("proc/[0-9]*/fd/*"))
	at := slices.IndexFunc(descriptors, func(file string) bool {
		target, err := os.Readlink(file)
		return err == nil && target == "socket:["+inode+"]"
	})
	if at < 0 {
		return ""
	}
	return h.read(strings.TrimPrefix(filepath.Dir(filepath.Dir(descriptors[at])), h.path()), "comm")
}
