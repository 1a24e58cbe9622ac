package control

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryv1apply "k8s.io/client-go/applyconfigurations/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/restart"
)

// manager owns the fields that a server writes.
const manager = "skerry"

// publishEndpoint writes where the Service kubernetes leads: to this server.
func (c *Control) publishEndpoint(ctx context.Context, client kubernetes.Interface) error {
	family := discoveryv1.AddressTypeIPv4
	if ip := net.ParseIP(c.Address); ip != nil && ip.To4() == nil {
		family = discoveryv1.AddressTypeIPv6
	}
	slice := discoveryv1apply.EndpointSlice("kubernetes", metav1.NamespaceDefault).
		WithLabels(map[string]string{discoveryv1.LabelServiceName: "kubernetes"}).
		WithAddressType(family).
		WithEndpoints(discoveryv1apply.Endpoint().WithAddresses(c.Address).
			WithConditions(discoveryv1apply.EndpointConditions().WithReady(true))).
		WithPorts(discoveryv1apply.EndpointPort().WithName("https").WithPort(config.Port).WithProtocol(corev1.ProtocolTCP))
	// Some programs still ask for the older kind.
	endpoints := corev1apply.Endpoints("kubernetes", metav1.NamespaceDefault).
		WithLabels(map[string]string{discoveryv1.LabelSkipMirror: "true"}).
		WithSubsets(corev1apply.EndpointSubset().
			WithAddresses(corev1apply.EndpointAddress().WithIP(c.Address)).
			WithPorts(corev1apply.EndpointPort().WithName("https").WithPort(config.Port).WithProtocol(corev1.ProtocolTCP)))
	options := metav1.ApplyOptions{FieldManager: manager, Force: true}
	// It ends with ctx at the latest, which is no error.
	_ = wait.PollUntilContextCancel(ctx, 2*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Apply(ctx, slice, options)
		if err == nil {
			_, err = client.CoreV1().Endpoints(metav1.NamespaceDefault).Apply(ctx, endpoints, options)
		}
		if err != nil && ctx.Err() == nil {
			slog.Warn("the endpoints of Service kubernetes could not be written", "error", err)
		}
		return err == nil, nil
	})
	return nil
}

const (
	firstRemovalPause = 2 * time.Second // before etcd is asked again
	lastRemovalPause  = time.Minute
)

// forgetNodes frees the name of a node whose object somebody deleted, and its
// place among the servers if it was one.
func (c *Control) forgetNodes(ctx context.Context, client kubernetes.Interface) error {
	keys := join.SecretKeys{Client: client}
	var work sync.WaitGroup
	defer work.Wait()
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Nodes().Informer()
	forget := func(object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		node, ok := object.(*corev1.Node)
		if !ok {
			return
		}
		if err := keys.Forget(ctx, node.Name); err != nil && ctx.Err() == nil {
			slog.Error("a deleted node's key could not be forgotten: no other machine can take its name", "node", node.Name, "error", err)
		}
		for _, m := range c.members(node.Name) {
			work.Go(func() { c.removeMember(ctx, m) })
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: forget}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// members are the places in etcd of servers of a name.
func (c *Control) members(name string) []datastore.Member {
	if c.etcd == nil {
		return nil
	}
	all, err := c.etcd.Members()
	if err != nil {
		slog.Error("a deleted server keeps its place in etcd", "node", name, "error", err)
	}
	return slices.DeleteFunc(all, func(m datastore.Member) bool { return m.Name != name })
}

// removeMember tries until a place in etcd is gone, or ctx ends: for some
// seconds after a server came back etcd lets none go.
func (c *Control) removeMember(ctx context.Context, m datastore.Member) {
	try := func(ctx context.Context) error { return c.etcd.Remove(ctx, m) }
	restart.Until(ctx, firstRemovalPause, lastRemovalPause, try, func(err error, pause time.Duration) {
		slog.Warn("a deleted server keeps its place in etcd for now", "node", m.Name, "error", err, "again in", pause)
	})
}
