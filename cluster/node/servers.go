package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/balancer"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/cluster/process"
	"github.com/skerry-os/skerry/cluster/tunnel"
)

// serverURL is where the node's programs find the servers: its own balancer.
var serverURL = fmt.Sprintf("https://127.0.0.1:%d", config.BalancerPort)

// askServersEvery is how soon a node knows of a new server.
const askServersEvery = time.Minute

// serversFile has all servers: a node whose first server is gone for good comes
// back by it.
func (n *Node) serversFile() string { return n.AgentDir("servers.json") }

// ownServer is the server of this machine, host:port, or "".
func (n *Node) ownServer() string {
	if n.Role != config.Server {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(config.Port))
}

// namedServer is the server that a person named, host:port, or "".
func (n *Node) namedServer() string {
	named, err := url.Parse(n.Server)
	if err != nil || named.Hostname() == "" {
		return ""
	}
	if named.Port() == "" {
		return net.JoinHostPort(named.Hostname(), "443")
	}
	return named.Host
}

// knownServers are those that the node has been told of, host:port. It is no
// error if it was told of none, or the file is damaged: a person named one.
func (n *Node) knownServers() []string {
	contents, err := os.ReadFile(n.serversFile())
	var kept join.Servers
	if err == nil {
		err = json.Unmarshal(contents, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		slog.Warn("the list of servers cannot be read", "file", n.serversFile(), "error", err)
	}
	return kept.Servers
}

// setServers says where all servers are and keeps it.
func (n *Node) setServers(addresses []string) error {
	contents, err := json.Marshal(join.Servers{Servers: addresses})
	if err != nil {
		return err
	}
	n.balancer.Set(n.others(addresses))
	return atomicfile.Write(n.serversFile(), contents, 0o600)
}

// others are the servers that are not on this machine.
func (n *Node) others(addresses []string) []string {
	if n.Role != config.Server {
		return addresses
	}
	own := net.JoinHostPort(n.NodeIP, strconv.Itoa(config.Port))
	return slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return a == own })
}

// runBalancer leads the node's programs to the servers it knows.
func (n *Node) runBalancer(ctx context.Context, group *process.Group) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(config.BalancerPort)))
	if err != nil {
		return fmt.Errorf("the way of this node's programs to the servers: %w", err)
	}
	check := serverCheck(n.serverCAFile())
	n.balancer = &balancer.Balancer{Name: n.NodeName, Own: n.ownServer(), Fallback: n.namedServer(), Check: check}
	n.balancer.Set(n.others(n.knownServers()))
	group.Go(func() error { return n.balancer.Run(ctx, listener) })
	return nil
}

// serverCheck returns how a server is asked whether it is ready. Servers of
// which the node does not know the CA yet are taken to be.
func serverCheck(caFile string) func(ctx context.Context, server string) error {
	var mu sync.Mutex
	var client *http.Client // keeps its connections
	load := func() (*http.Client, error) {
		mu.Lock()
		defer mu.Unlock()
		if client != nil {
			return client, nil
		}
		ca, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots, err := pki.Pool(ca)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", caFile, err)
		}
		client = &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: join.ServerName, MinVersion: tls.VersionTLS13},
			MaxIdleConnsPerHost: 1,
		}}
		return client, nil
	}
	return func(ctx context.Context, server string) error {
		client, err := load()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", server, answer.Status)
		}
		return nil
	}
}

// followServers keeps the list of servers true and a tunnel to each, until ctx
// ends.
func (n *Node) followServers(ctx context.Context, told []string) error {
	tunnels := newTunnels(n.openTunnel)
	defer tunnels.set(ctx, nil)
	ticker := time.NewTicker(askServersEvery)
	defer ticker.Stop()
	var current []string
	for {
		slices.Sort(told) // each server names itself first
		if len(told) > 0 && !slices.Equal(told, current) {
			current = told
			if err := n.setServers(current); err != nil {
				slog.Error("the list of servers could not be kept", "error", err)
			}
			tunnels.set(ctx, n.tunnelsTo(current))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var err error
		if told, err = n.askServers(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("no server tells where all are", "error", err)
		}
	}
}

func (n *Node) askServers(ctx context.Context) ([]string, error) {
	ca, err := os.ReadFile(n.serverCAFile())
	if err != nil {
		return nil, err
	}
	return join.Client{Server: serverURL, CA: ca}.AskServers(ctx, n.run("kubelet.crt"), n.runKeyFile())
}

// tunnelsTo are the servers that need a tunnel to reach this node: all others.
// An agent that knows one address only reaches its server by it; where there
// is a single server, that may be the one that a person named.
func (n *Node) tunnelsTo(addresses []string) []string {
	others := n.others(addresses)
	if n.Role == config.Agent && len(others) < 2 {
		return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(config.BalancerPort))}
	}
	return others
}

func (n *Node) openTunnel(ctx context.Context, server string) {
	tunnel.Node{
		Server: "https://" + server, CA: n.serverCAFile(), Certificate: n.run("kubelet.crt"), Key: n.runKeyFile(),
		Kubelet: "127.0.0.1:10250",
	}.Run(ctx)
}

// tunnels are those that are open, by server.
type tunnels struct {
	open map[string]func() // ends one
	run  func(ctx context.Context, server string)
}

func newTunnels(run func(ctx context.Context, server string)) *tunnels {
	return &tunnels{open: map[string]func(){}, run: run}
}

// set opens tunnels to servers that have none and ends those to all others.
func (t *tunnels) set(ctx context.Context, servers []string) {
	for server, end := range t.open {
		if !slices.Contains(servers, server) {
			end()
			delete(t.open, server)
		}
	}
	for _, server := range servers {
		if t.open[server] != nil {
			continue
		}
		running, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { t.run(running, server); close(done) }()
		t.open[server] = func() { cancel(); <-done }
	}
}
