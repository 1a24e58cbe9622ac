//go:build system

package tests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/cluster/clustertest"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/jointoken"
	"github.com/skerry-os/skerry/tests/machine"
)

const (
	hostServer   = "https://" + machine.HostAddress + ":6443"
	clusterAgent = "cluster agent Ready"
)

// hostControlPlane is a control plane on this machine that guests can join.
func hostControlPlane(t *testing.T) (*clustertest.Server, *operator) {
	t.Helper()
	program, err := skerryCommand()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SKERRY", program)
	s := clustertest.Start(t, "--node-ip", machine.HostAddress)
	return s, &operator{t: t, program: program, dir: t.TempDir(), server: hostServer, kubeconfig: s.Kubeconfig()}
}

// joinToken is the token of a role.
func (o *operator) joinToken(s *clustertest.Server, role string) string {
	o.t.Helper()
	return strings.TrimSpace(o.run("token", "--role", role, "--data-dir", s.Dir))
}

// agentConfig is the node config of an agent of a server; more are lines for its
// section cluster.
func agentConfig(server, token string, more ...string) string {
	lines := append([]string{"hostname: mast-3", "cluster:", "  role: agent", "  join: " + server, "  token: " + token}, more...)
	return header + strings.Join(lines, "\n") + "\n"
}

// The node is behind address translation: what the API server asks of its
// kubelet has to come through the tunnel that the node opened.
func TestAnAgentJoinsAServer(t *testing.T) {
	timed(t)
	s, o := hostControlPlane(t)
	token := o.joinToken(s, jointoken.Agent)
	i := builtWithCluster(t, "x86_64")
	d := machine.NewDisk(t, workDir, i.path(), clusterDisk)
	start := func() *machine.Machine {
		return machine.Start(t, qemu.Machine{GOARCH: i.manifest.Architecture, Disk: d.Path, Memory: agentMemory})
	}

	last := token[len(token)-1:]
	wrong := strings.TrimSuffix(token, last) + map[bool]string{true: "b", false: "a"}[last == "a"]
	d.WriteConfig(agentConfig(hostServer, wrong))
	m := start()
	m.Expect(`the token is not valid in this cluster`)
	m.PowerOff()

	d.WriteConfig(agentConfig(hostServer, token))
	m = start()
	comesUp(t, m, clusterAgent)
	o.sees("mast-3=True", "get", "nodes", `--output=jsonpath={.items[0].metadata.name}={.items[0].status.conditions[?(@.type=="Ready")].status}`)
	o.batteriesReady()
	o.apply(podOfUsersImage)
	o.sees("Running", "get", "pod", "first", "--output=jsonpath={.status.phase}")
	o.says("CoreDNS-", "logs", "--namespace=kube-system", "deployment/coredns")
	o.says("CoreDNS-", "exec", "--namespace=kube-system", "deployment/coredns", "--", "/coredns", "-version")

	// Nobody else is this node, token or not.
	if err := steal(t, token, "mast-3"); !errors.Is(err, join.ErrRefused) {
		t.Errorf("another machine with the node's name: %v", err)
	}

	// Pods run on while the server is away, and it finds them again.
	const container = "--output=jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}"
	before, err := o.kubectl("get", "pod", "first", container)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	s.Begin(t)
	s.WaitUntilReady(t)
	o.says("CoreDNS-", "exec", "--namespace=kube-system", "deployment/coredns", "--", "/coredns", "-version")
	o.sees(strings.TrimSpace(before), "get", "pod", "first", container)
	m.PowerOff()
}

// steal asks for certificates of a name with a key of its own.
func steal(t *testing.T, token, name string) error {
	t.Helper()
	const server = "https://127.0.0.1:6443"
	parsed, err := jointoken.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := join.FetchCA(t.Context(), server, parsed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = join.Client{Server: server, CA: ca, Token: token}.Join(t.Context(), name, []string{"192.0.2.1"}, key)
	return err
}
