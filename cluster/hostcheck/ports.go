package hostcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// port is one that the cluster listens on.
type port struct {
	number int
	udp    bool
	what   string
	needed func(Needs) bool
}

func ofServer(n Needs) bool { return n.Server }
func ofNode(n Needs) bool   { return n.Node }

var ports = []port{
	{6443, false, "API server", ofServer},
	{10250, false, "kubelet", ofNode},
	{10248, false, "health of the kubelet", ofNode},
	{10249, false, "metrics of kube-proxy", ofNode},
	{10256, false, "health of kube-proxy", ofNode},
	{8472, true, "VXLAN between nodes", func(n Needs) bool { return n.Node && n.Backend == "vxlan" }},
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
			case owner == "" && p.udp && h.exists("sys/class/net/flannel.1"):
				f.Text = "interface flannel.1 has it"
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
