// Package network gives Pods their network: it tells containerd which CNI
// plugins to call, and runs flannel, which carries packets between nodes.
package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // backends register themselves
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	_ "github.com/flannel-io/flannel/pkg/backend/wireguard"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/watch"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

// Network is the network of the Pods of a node.
type Network struct {
	Node       string
	Address    net.IP // of the node, to other nodes
	Kubeconfig string
	Client     kubernetes.Interface
	CIDR       string // of all Pods of the cluster
	Backend    string // vxlan, host-gw or wireguard-native; none means somebody else's network
	CNIDir     string // where containerd looks for its network
	StateDir   string // in memory
}

// backendTypes are flannel's names.
var backendTypes = map[string]string{"vxlan": "vxlan", "host-gw": "host-gw", "wireguard-native": "wireguard"}

// overhead is what a backend takes of each packet, in bytes.
var overhead = map[string]int{"vxlan": 50, "wireguard-native": 80}

// annotations on Node objects carry what flannel tells its peers.
const annotations = "flannel.alpha.coreos.com"

// resyncSeconds is how often flannel looks after its rules: nothing else on a
// node touches them.
const resyncSeconds = 3600

// Run sets up the network and keeps it until ctx ends or it fails.
func (n Network) Run(ctx context.Context) error {
	if n.Backend == "none" {
		<-ctx.Done()
		return nil
	}
	podCIDR, err := n.waitForCIDR(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	device, err := interfaceOf(n.Address)
	if err != nil {
		return err
	}
	if err := n.writeCNI(podCIDR, device.MTU-overhead[n.Backend]); err != nil {
		return err
	}
	return n.runFlannel(ctx, device)
}

// waitForCIDR waits until the controller manager has given the node its part
// of the Pods' addresses.
func (n Network) waitForCIDR(ctx context.Context) (string, error) {
	nodes := cache.NewListWatchFromClient(n.Client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, fields.OneTermEqualSelector("metadata.name", n.Node))
	var cidr string
	_, err := watch.UntilWithSync(ctx, nodes, &corev1.Node{}, nil, func(event apiwatch.Event) (bool, error) {
		if node, ok := event.Object.(*corev1.Node); ok {
			cidr = node.Spec.PodCIDR
		}
		return cidr != "", nil
	})
	if ctx.Err() != nil {
		return "", nil
	}
	return cidr, err
}

// interfaceOf returns the interface that has an address.
func interfaceOf(address net.IP) (*net.Interface, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, device := range interfaces {
		addresses, err := device.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && network.IP.Equal(address) {
				return &device, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has the node's address %s any more", address)
}

// writeCNI tells containerd which plugins make a Pod's network: a bridge with
// addresses of the node's part, and ports of the host for Pods that ask.
func (n Network) writeCNI(podCIDR string, mtu int) error {
	list := map[string]any{
		"cniVersion": "1.0.0",
		"name":       Name,
		"plugins": []map[string]any{
			{
				"type": "bridge", "bridge": bridge, "mtu": mtu,
				"isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
				// A Node that is new again may get another part, and the bridge is still there.
				"forceAddress": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": filepath.Join(n.StateDir, "addresses"),
					"ranges": [][]map[string]string{{{"subnet": podCIDR}}},
				},
			},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "backend": "nftables"},
		},
	}
	contents, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(n.CNIDir, "10-skerry.conflist"), contents, 0o600)
}

func (n Network) runFlannel(ctx context.Context, device *net.Interface) error {
	settings, err := json.Marshal(map[string]any{
		"Network": n.CIDR, "EnableNFTables": true,
		"Backend": map[string]any{"Type": backendTypes[n.Backend]},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(n.StateDir, "flannel.json")
	if err := atomicfile.Write(path, settings, 0o600); err != nil {
		return err
	}
	os.Setenv("NODE_NAME", n.Node) // flannel has no other way to be told
	manager, err := kube.NewSubnetManager(ctx, "", n.Kubeconfig, annotations, path, false)
	if err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	external := &backend.ExternalInterface{Iface: device, IfaceName: device.Name, IfaceAddr: n.Address, ExtAddr: n.Address}
	way, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	carried, err := way.RegisterNetwork(ctx, &running, config)
	if err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	rules := new(nftables.NFTablesManager)
	if err := rules.Init(ctx); err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	var none ip.IP4Net
	var none6 ip.IP6Net
	if err := rules.SetupAndEnsureMasqRules(ctx, config.Network, none, none, config.IPv6Network, none6, none6, carried.Lease(), resyncSeconds, false); err != nil {
		return fmt.Errorf("flannel: %w", err)
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resyncSeconds)
	carried.Run(ctx)
	return nil
}
