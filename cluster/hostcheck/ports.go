package hostcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/cluster/config"
)

// port is one that the cluster listens on.
type port struct {
	number int
	what   string
	needed func(Needs) bool
	udp    bool
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
	{number: config.BalancerPort, what: "the way to the servers", needed: ofNode},
	{number: config.StreamPort, what: "containerd", needed: ofNode},
	{number: 10250, what: "kubelet", needed: ofNode},
	{number: 10248, what: "health of the kubelet", needed: ofNode},
	{number: 10249, what: "metrics of kube-proxy", needed: ofNode},
	{number: 10256, what: "health of kube-proxy", needed: ofNode},
	{number: 8472, what: "VXLAN between nodes", needed: between("vxlan"), udp: true, link: "flannel.1"},
	{number: 51820, what: "WireGuard between nodes", needed: between("wireguard-native"), udp: true, link: "flannel-wg"},
}

// own is the name of the program's processes. A part of an earlier run may be
// about to end, and a service that runs is no obstacle to its own update.
const own = "skerry"

func (h *Host) ports(needs Needs) []Finding {
	var findings []Finding
	tcp, udp := h.listeners("tcp", "0A"), h.listeners("udp", "07")
	for _, p := range ports {
		if !p.needed(needs) {
			continue
		}
		protocol, sockets := "tcp", tcp
		if p.udp {
			protocol, sockets = "udp", udp
		}
		f := Finding{Name: fmt.Sprintf("port %d/%s", p.number, protocol), Level: OK, Text: "it is free"}
		if inode, taken := sockets[p.number]; taken {
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

// listeners returns the sockets in a state by their port, see proc_pid_net(5):
// 0A is a TCP socket that listens, and 07 a UDP socket that is connected to
// nobody.
func (h *Host) listeners(protocol, state string) map[int]string {
	inodes := map[int]string{}
	for _, name := range []string{protocol, protocol + "6"} {
		for line := range strings.Lines(h.read("proc/net", name)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != state {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if number, err := strconv.ParseUint(hex, 16, 16); err == nil {
				inodes[int(number)] = fields[9]
			}
		}
	}
	return inodes
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
