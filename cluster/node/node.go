// Package node is a node of a cluster in one process: kubelet, kube-proxy and
// the network of the Pods. containerd has a process of its own.
package node

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/skerry-os/skerry/cluster/addons"
	"github.com/skerry-os/skerry/cluster/balancer"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/container"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/localstorage"
	"github.com/skerry-os/skerry/cluster/nameservers"
	"github.com/skerry-os/skerry/cluster/network"
	"github.com/skerry-os/skerry/cluster/networkpolicy"
	"github.com/skerry-os/skerry/cluster/process"
)

// stopTimeout is how long the components may take to stop.
const stopTimeout = 5 * time.Second

// Node is a machine that runs Pods.
type Node struct {
	*config.Config
	// Progress is told what the node is doing.
	Progress func(step string)

	balancer *balancer.Balancer
}

// Run joins the cluster and runs Pods until ctx ends or a part fails. The Pods
// go on without it.
func (n *Node) Run(ctx context.Context) error {
	if err := prepareKernel(ctx); err != nil {
		return err
	}
	group, ctx := process.NewGroup(ctx)
	if err := n.runBalancer(ctx, group); err != nil {
		return err
	}
	images := sync.OnceValue(func() *container.Images { return n.seedImages(ctx) })
	go images() // containerd is there before the server
	group.Go(func() error { return n.watchToken(ctx) })
	membership, err := n.join(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return group.Wait(stopTimeout)
	}
	if err := n.writeKubeletConfig(membership); err != nil {
		return err
	}
	_, proxyClient, err := kubeconfig.Client(n.proxyKubeconfig())
	if err != nil {
		return err
	}
	_, nodeClient, err := kubeconfig.Client(n.nodeKubeconfig())
	if err != nil {
		return err
	}
	group.Go(func() error { return n.renew(ctx, membership) })
	group.Go(func() error { return n.followServers(ctx, membership.Servers) })
	group.Go(func() error { return n.runKubelet(ctx, images) })
	group.Go(func() error { return kube.Proxy(ctx, n.proxyFlags(membership)) })
	group.Go(func() error {
		return network.Network{
			Node: n.NodeName, Address: net.ParseIP(n.NodeIP), Kubeconfig: n.proxyKubeconfig(), Client: proxyClient,
			CIDR: membership.ClusterCIDR, Backend: membership.FlannelBackend,
			CNIDir: container.CNIConfigDir(n.Config), StateDir: n.RunFile("network"),
		}.Run(ctx)
	})
	group.Go(func() error { return n.keepNameServers(ctx, membership.ClusterDNS) })
	if membership.NetworkPolicy {
		group.Go(func() error { return networkpolicy.Run(ctx, proxyClient, n.NodeName) })
	}
	if membership.LocalStorage {
		// As the node itself: an admission policy holds each to its own volumes.
		group.Go(func() error { return localstorage.Run(ctx, nodeClient, n.NodeName, n.AgentDir("storage")) })
	}
	return group.Wait(stopTimeout)
}

// seedImages waits for containerd and has it know the images that the node
// carries. What it knows already may do.
func (n *Node) seedImages(ctx context.Context) *container.Images {
	if err := waitForSocket(ctx, container.Socket(n.Config)); err != nil {
		return nil // ctx ended
	}
	images, err := container.SeedImages(ctx, n.Config)
	if err != nil && ctx.Err() == nil {
		slog.Error("images that came with this release", "error", err)
	}
	return images
}

// runKubelet runs the kubelet once containerd answers and has been told of
// images.
func (n *Node) runKubelet(ctx context.Context, seeded func() *container.Images) error {
	n.Progress("waiting for containerd")
	images := seeded()
	if ctx.Err() != nil {
		return nil
	}
	var unpacking sync.WaitGroup
	unpacking.Go(func() {
		defer images.Close()
		if err := images.Unpack(ctx); err != nil && ctx.Err() == nil {
			slog.Error("images that came with this release", "error", err)
		}
	})
	defer unpacking.Wait()
	n.Progress("starting the kubelet")
	return kube.Kubelet(ctx, n.kubeletFile(), n.kubeletFlags())
}

// keepNameServers tells CoreDNS whom to ask about the outside world: all that
// the node asks but the cluster's own DNS.
func (n *Node) keepNameServers(ctx context.Context, own string) error {
	var exclude []netip.Addr
	if address, err := netip.ParseAddr(own); err == nil {
		exclude = append(exclude, address)
	}
	return nameservers.Run(ctx, nameservers.Files, addons.NameServersDir(n.Config), exclude...)
}

// waitForSocket waits until somebody listens at a socket.
func waitForSocket(ctx context.Context, path string) error {
	return wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		connection, err := net.DialTimeout("unix", path, time.Second)
		if err != nil {
			return false, nil
		}
		return true, connection.Close()
	})
}
