package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/balancer"
	"github.com/skerry-os/skerry/cluster/config"
)

func testNode(t *testing.T, role config.Role) *Node {
	t.Helper()
	c := config.Defaults(role)
	c.DataDir, c.NodeIP, c.Server = t.TempDir(), "192.0.2.1", "https://cluster.example"
	return &Node{Config: c, balancer: &balancer.Balancer{}}
}

func TestTheListOfServersOutlivesTheProcess(t *testing.T) {
	n := testNode(t, config.Agent)
	if got := n.knownServers(); len(got) > 0 {
		t.Errorf("a new node knows %v", got)
	}
	want := []string{"192.0.2.1:6443", "192.0.2.2:6443"}
	if err := n.setServers(want); err != nil {
		t.Fatal(err)
	}
	again := &Node{Config: n.Config}
	if diff := cmp.Diff(want, again.knownServers()); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(n.DataDir, "agent", "servers.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := again.knownServers(); len(got) > 0 {
		t.Errorf("a damaged list: %v", got)
	}
	if got := n.namedServer(); got != "cluster.example:443" {
		t.Errorf("the server that a person named is %q", got)
	}
}

func TestEveryOtherServerGetsATunnel(t *testing.T) {
	all := []string{"192.0.2.1:6443", "192.0.2.2:6443"}
	for _, test := range []struct {
		role    config.Role
		servers []string
		want    []string
	}{
		{config.Server, all[:1], nil},
		{config.Server, all, all[1:]},
		{config.Agent, all, all},
		{config.Agent, all[1:], []string{"127.0.0.1:6444"}}, // it may be known by another address only
	} {
		if got := testNode(t, test.role).tunnelsTo(test.servers); !slices.Equal(got, test.want) {
			t.Errorf("%s, %v: %v, want %v", test.role, test.servers, got, test.want)
		}
	}
}

func TestTunnelsFollowTheServers(t *testing.T) {
	var mu sync.Mutex
	var began, ended []string
	opened := make(chan struct{}, 10)
	tunnels := newTunnels(func(ctx context.Context, server string) {
		mu.Lock()
		began = append(began, server)
		mu.Unlock()
		opened <- struct{}{}
		<-ctx.Done()
		mu.Lock()
		ended = append(ended, server)
		mu.Unlock()
	})
	tunnels.set(t.Context(), []string{"a", "b"})
	<-opened
	<-opened
	tunnels.set(t.Context(), []string{"b", "c"})
	<-opened
	mu.Lock()
	slices.Sort(began[:2])
	if diff := cmp.Diff([]string{"a", "b", "c"}, began); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a"}, ended); diff != "" {
		t.Error(diff)
	}
	mu.Unlock()
	tunnels.set(t.Context(), nil)
	mu.Lock()
	defer mu.Unlock()
	if len(ended) != 3 {
		t.Errorf("only %v ended", ended)
	}
}
