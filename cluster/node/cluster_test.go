//go:build cluster

package node

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/clustertest"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/process"
)

// A node joins by its own balancer and speaks as itself through it, and knows a
// server that comes later.
func TestANodeKnowsAllServersAgainstAnAPIServer(t *testing.T) {
	machines := clustertest.Network(t, "a", "b")
	first := machines[0].Server(t, "--cluster-init")
	first.Begin(t)
	first.WaitUntilReady(t)
	printed := func(role string) string {
		output, err := first.Skerry(t, "token", "--role", role, "--data-dir", first.Dir)
		if err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return strings.TrimSpace(output)
	}

	c := config.Defaults(config.Agent)
	c.NodeName, c.NodeIP, c.DataDir, c.RunDir = "n", clustertest.Here(), t.TempDir(), t.TempDir()
	c.Server, c.Token = machines[0].URL(), printed("agent")
	n := &Node{Config: c, Progress: func(string) {}}
	// It was in another cluster, whose servers are gone.
	wasMember(t, n)
	if left, err := n.LeaveOtherCluster(t.Context()); err != nil || !left {
		t.Fatalf("left %v: %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := process.NewGroup(ctx)
	defer func() {
		cancel()
		if err := group.Wait(stopTimeout); err != nil {
			t.Error(err)
		}
	}()
	if err := n.runBalancer(ctx, group); err != nil {
		t.Fatal(err)
	}
	membership, err := n.join(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, client, err := kubeconfig.Client(n.nodeKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	me := func() string {
		review, err := client.Discovery().RESTClient().Get().AbsPath("/api/v1/services").Timeout(5 * time.Second).Do(t.Context()).Raw()
		if err != nil {
			return err.Error()
		}
		return string(review[:min(len(review), 20)])
	}
	clustertest.Eventually(t, "the node may list Services", func() bool { return strings.Contains(me(), "ServiceList") })

	second := machines[1].Server(t, "--server", machines[0].URL(), "--token", printed("server"))
	second.Begin(t)
	second.WaitUntilReady(t)
	if err := n.setServers(membership.Servers); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "the node is told of both servers", func() bool {
		servers, err := n.askServers(ctx)
		slices.Sort(servers)
		return err == nil && slices.Equal(servers, []string{machines[0].Address + ":6443", machines[1].Address + ":6443"}) && n.setServers(servers) == nil
	})
}
