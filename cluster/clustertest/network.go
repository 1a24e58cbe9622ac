//go:build cluster || system

package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skerry-os/skerry/cluster/config"
)

const networkBits = "/24"

// address is one of the machines' network: of those for tests of devices (RFC
// 2544), for each run another.
func address(host int) string { return fmt.Sprintf("198.18.%d.%d", os.Getpid()%256, host) }

// Here is the address of this process among the machines.
func Here() string { return address(254) }

// Machine is a network namespace on a bridge: a server on it has all ports for
// itself.
type Machine struct {
	Name    string
	Address string
	netns   string
}

// networks counts what Network made: the kernel takes a namespace and what is
// in it away some time after its name is gone, so no name is used twice.
var networks atomic.Int32

// Network makes machines with the names, and takes them away with the test. It
// needs root.
func Network(t *testing.T, names ...string) []*Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the test makes network namespaces: run it as root")
	}
	unique := fmt.Sprintf("sk%dn%d", os.Getpid()%100000, networks.Add(1))
	bridge := unique + "br"
	ip(t, "link", "add", bridge, "type", "bridge")
	t.Cleanup(func() { exec.Command("ip", "link", "del", bridge).Run() })
	ip(t, "address", "add", Here()+networkBits, "dev", bridge)
	ip(t, "link", "set", bridge, "up")
	var machines []*Machine
	for i, name := range names {
		m := &Machine{Name: name, Address: address(i + 1), netns: unique + name}
		outside := fmt.Sprintf("%sv%d", unique, i)
		ip(t, "netns", "add", m.netns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", m.netns).Run() })
		ip(t, "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", m.netns)
		t.Cleanup(func() { exec.Command("ip", "link", "del", outside).Run() })
		ip(t, "link", "set", outside, "master", bridge, "up")
		ip(t, "-n", m.netns, "address", "add", m.Address+networkBits, "dev", "eth0")
		ip(t, "-n", m.netns, "link", "set", "eth0", "up")
		ip(t, "-n", m.netns, "link", "set", "lo", "up")
		machines = append(machines, m)
	}
	return machines
}

func ip(t *testing.T, arguments ...string) {
	t.Helper()
	if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

// run is what runs a command on the machine.
func (m *Machine) run() []string { return []string{"ip", "netns", "exec", m.netns} }

// URL is the machine's API server.
func (m *Machine) URL() string { return fmt.Sprintf("https://%s:%d", m.Address, config.Port) }

// Server is a control plane on the machine. It is not started.
func (m *Machine) Server(t *testing.T, flags ...string) *Server {
	t.Helper()
	return newServer(t, m, append([]string{"--node-name", m.Name, "--node-ip", m.Address}, flags...))
}
