//go:build system && soak

package tests

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

// firstGuest is the address of the first machine of a network.
const firstGuest = "10.0.2.15"

// A server and an agent that see each other: what a Pod sends to one on the
// other node goes through the Pods' own network.
func TestPodsOfTwoNodesReachEachOther(t *testing.T) {
	timed(t)
	segment := filepath.Join(t.TempDir(), "lan")
	i := builtWithCluster(t, "x86_64")
	_, registries := imagesForGuests(t, i.manifest.Architecture)

	s := newSite(t, "x86_64", registries...)
	network, err := builder.StartNetwork(t.Context(), segment, s.hardware.Forwards)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.hardware.LAN = segment
	first := machine.Start(t, s.hardware)
	comesUp(t, first, clusterReady)
	s.logIn()
	token := strings.TrimSpace(s.run("token", "create", "--kubeconfig", s.kubeconfig))

	d := machine.NewDisk(t, workDir, i.path(), clusterDisk)
	d.WriteConfig(agentConfig("https://"+firstGuest+":6443", token, registries...))
	second := machine.Start(t, qemu.Machine{GOARCH: i.manifest.Architecture, Disk: d.Path, Memory: agentMemory, LAN: segment})
	comesUp(t, second, clusterAgent)
	s.sees("True True", "get", "nodes", `--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	s.apply(podOn("shop-17", "here"))
	s.apply(podOn("mast-3", "there"))
	s.running("here", "there")
	s.reaches("here", "there.default.svc.cluster.local:80")
	s.reaches("there", "here.default.svc.cluster.local:80")
	s.listensAsDocumented("shop-17", "servers")
	s.listensAsDocumented("mast-3")
	second.PowerOff()
	first.PowerOff()
}

// podOn is a Pod on a node, and a Service of the same name that leads to it.
func podOn(node, name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[2]s, labels: {pod: %[2]s}}
spec:
  nodeSelector: {kubernetes.io/hostname: %[1]s}
  containers:
  - {name: web, image: "images.example/agnhost:v1", args: [netexec, --http-port=8080, --udp-port=-1]}
---
apiVersion: v1
kind: Service
metadata: {name: %[2]s}
spec:
  selector: {pod: %[2]s}
  ports: [{port: 80, targetPort: 8080}]
`, node, name)
}
