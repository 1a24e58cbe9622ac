// Package servicelb gives Services of type LoadBalancer the addresses of the
// cluster's nodes, without a single Pod: kube-proxy on each node takes packets
// to an address that a Service's status names, also if it is the node's own
// (pkg/proxy/nftables of Kubernetes: loadBalancerVIPs go into the map
// service-ips, which is looked at before the packet is taken as one to the
// node).
//
// All Services share these addresses, so a port belongs to the oldest Service
// that asks for it; another stays pending, with an Event, and so does one that
// asks for a port which the cluster needs itself. A Service with a
// loadBalancerClass is left to whoever serves this class. Addresses of NAT
// devices before the nodes are unknown here.
package servicelb

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const (
	// manager owns the status of the Services that have addresses.
	manager = "skerry-servicelb"

	// settle is how long changes are gathered before Services are looked at.
	settle = 100 * time.Millisecond
	// retry is how long it takes until a Service that could not be written
	// is tried again.
	retry = 5 * time.Second
)

// balancer is a run of this package.
type balancer struct {
	client   kubernetes.Interface
	events   record.EventRecorder
	services corev1listers.ServiceLister
	nodes    corev1listers.NodeLister
	// slices is nil until a Service needs to know where its Pods are.
	slices  discoveryv1listers.EndpointSliceLister
	told    map[types.UID]string // why a Service is pending
	changed chan struct{}
}

// Run gives addresses until ctx ends. There must be one in a cluster.
func Run(ctx context.Context, client kubernetes.Interface) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	b := &balancer{
		client: client, events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: manager}),
		told: map[types.UID]string{}, changed: make(chan struct{}, 1),
	}
	balanced := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String()
	}))
	others := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	services, nodes := balanced.Core().V1().Services(), others.Core().V1().Nodes()
	b.services, b.nodes = services.Lister(), nodes.Lister()
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), nodes.Informer()} {
		if _, err := informer.AddEventHandler(b.handler()); err != nil {
			return err
		}
	}
	for _, factory := range []informers.SharedInformerFactory{balanced, others} {
		factory.Start(ctx.Done())
		defer factory.Shutdown()
	}
	if !cache.WaitForCacheSync(ctx.Done(), services.Informer().HasSynced, nodes.Informer().HasSynced) {
		return nil
	}
	for {
		if b.slices == nil && b.needsSlices() {
			informer := others.Discovery().V1().EndpointSlices()
			if _, err := informer.Informer().AddEventHandler(b.handler()); err != nil {
				return err
			}
			others.Start(ctx.Done())
			if !cache.WaitForCacheSync(ctx.Done(), informer.Informer().HasSynced) {
				return nil
			}
			b.slices = informer.Lister()
		}
		var again <-chan time.Time
		if b.balance(ctx) {
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-b.changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
	}
}

// trim leaves of an object what this package reads: nodes in particular change
// and carry much that it does not.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Node:
		o.ManagedFields, o.Annotations = nil, nil
		o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses, Conditions: o.Status.Conditions}
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Annotations, o.Ports = nil, nil, nil
	}
	return object, nil
}

func (b *balancer) handler() cache.ResourceEventHandler {
	tell := func() {
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() },
		UpdateFunc: func(before, after any) {
			// A node's conditions are written every few minutes for their time.
			x, ok := before.(*corev1.Node)
			if ok && sameNode(x, after.(*corev1.Node)) {
				return
			}
			tell()
		},
		DeleteFunc: func(any) { tell() },
	}
}

// isBalanced tells whether a Service is to get addresses from here.
func isBalanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.DeletionTimestamp == nil
}

func isLocal(s *corev1.Service) bool {
	return s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func (b *balancer) needsSlices() bool {
	list, err := b.services.List(labels.Everything())
	return err == nil && slices.ContainsFunc(list, func(s *corev1.Service) bool { return isBalanced(s) && isLocal(s) })
}

// balance looks at all Services: their ports concern each other. It tells
// whether one could not be written.
func (b *balancer) balance(ctx context.Context) (failed bool) {
	list, err := b.services.List(labels.Everything())
	if err != nil {
		return true
	}
	nodes, err := b.nodes.List(labels.Everything())
	if err != nil {
		return true
	}
	list = slices.DeleteFunc(slices.Clone(list), func(s *corev1.Service) bool { return !isBalanced(s) })
	slices.SortFunc(list, byAge)
	taken := reserved()
	told := map[types.UID]string{}
	for _, s := range list {
		var addresses []string
		if why := taken.claim(s); why != "" {
			if told[s.UID] = why; b.told[s.UID] != why {
				b.events.Event(s, corev1.EventTypeWarning, "PortTaken", why)
				slog.Warn("a Service gets no address", "service", s.Namespace+"/"+s.Name, "why", why)
			}
		} else if isLocal(s) && b.slices == nil {
			continue // it came just now: there will be another round
		} else {
			addresses = addressesFor(s, nodes, b.localNodes(s))
		}
		if same(s.Status.LoadBalancer.Ingress, addresses) {
			continue
		}
		if err := write(ctx, b.client, s, addresses); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			slog.Warn("the addresses of a Service could not be written", "service", s.Namespace+"/"+s.Name, "error", err)
			failed = true
		}
	}
	b.told = told
	return failed
}

// localNodes are the nodes that have Pods of a Service which wants its packets
// on no other; nil for one that does not mind.
func (b *balancer) localNodes(s *corev1.Service) map[string]bool {
	if !isLocal(s) {
		return nil
	}
	names := map[string]bool{}
	list, err := b.slices.EndpointSlices(s.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: s.Name}))
	if err != nil {
		return names
	}
	for _, slice := range list {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if ready && endpoint.NodeName != nil {
				names[*endpoint.NodeName] = true
			}
		}
	}
	return names
}

// write gives a Service its addresses, or takes them away.
func write(ctx context.Context, client kubernetes.Interface, s *corev1.Service, addresses []string) error {
	applied := corev1apply.Service(s.Name, s.Namespace)
	if len(addresses) > 0 {
		status := corev1apply.LoadBalancerStatus()
		for _, address := range addresses {
			status.WithIngress(corev1apply.LoadBalancerIngress().WithIP(address).WithIPMode(corev1.LoadBalancerIPModeVIP))
		}
		applied.WithStatus(corev1apply.ServiceStatus().WithLoadBalancer(status))
	}
	_, err := client.CoreV1().Services(s.Namespace).ApplyStatus(ctx, applied, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// Withdraw takes away the addresses that an earlier Run gave, for a cluster in
// which somebody else shall give them.
func Withdraw(ctx context.Context, client kubernetes.Interface) error {
	list, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer)).String(),
	})
	if err != nil {
		return fmt.Errorf("look for Services with addresses of nodes: %w", err)
	}
	for _, s := range list.Items {
		mine := slices.ContainsFunc(s.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
		if !mine {
			continue
		}
		if err := write(ctx, client, &s, nil); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take the addresses of Service %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}
