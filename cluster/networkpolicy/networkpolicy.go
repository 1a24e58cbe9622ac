// Package networkpolicy has a node enforce NetworkPolicies (version 1) on the
// packets of its Pods, by kube-network-policies: nftables sends the first
// packet of each connection that concerns a Pod with a policy to this process,
// which answers whether the connection may be.
//
// While this process does not answer, such connections are dropped; those that
// are established go on, and Pods without a policy never notice. A policy that
// comes later does not end connections that are established. Traffic of the
// node's own root processes passes: the kubelet's probes are such.
//
// Admin policies are left out: their API is not part of Kubernetes.
package networkpolicy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	upstream "sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	// queueNumber is that of the nfnetlink queue; nobody else on a node has
	// one.
	queueNumber = 100

	// Table is that of nftables with the rules.
	Table = "skerry-network-policy"
)

// Run enforces policies until ctx ends or it fails. There can be one in a
// process and in a network namespace.
func Run(ctx context.Context, client kubernetes.Interface, nodeName string) error {
	if err := probe(); err != nil {
		return fmt.Errorf("network policy: %w: load nf_tables, nft_ct, nft_queue and nfnetlink_queue, or --disable network-policy on the servers", err)
	}
	fixed, err := kernelKeepsDNSApart()
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	pods := factory.Core().V1().Pods()
	controller, err := upstream.NewController(client, factory.Networking().V1().NetworkPolicies(), factory.Core().V1().Namespaces(), pods,
		nil, nil, nil, nil, upstream.Config{
			NodeName: nodeName, QueueID: queueNumber, NFTableName: Table,
			NetfilterBug1766Fix: !fixed,
			// Without containerd's plugin interface it still has to be on:
			// version 0.8.0 ends at the first packet of an address that
			// belongs to no Pod if it is off. It gives up when it finds no
			// socket, and learns the addresses of Pods from the API alone.
			NRIdisabled: false,
		})
	if err != nil {
		return fmt.Errorf("network policy: %w", err)
	}
	// The constructor sets a transform of its own that keeps all of a Pod.
	if err := pods.Informer().SetTransform(trim); err != nil {
		return fmt.Errorf("network policy: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	err = controller.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("network policy: %w", err)
}

// trim leaves of an object what decides about packets: a node has all Pods of
// the cluster in memory.
func trim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	spec := corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork}
	for _, container := range pod.Spec.Containers {
		// Policies name ports of containers.
		spec.Containers = append(spec.Containers, corev1.Container{Name: container.Name, Ports: container.Ports})
	}
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && len(container.Ports) > 0 {
			spec.InitContainers = append(spec.InitContainers, corev1.Container{
				Name: container.Name, Ports: container.Ports, RestartPolicy: container.RestartPolicy,
			})
		}
	}
	pod.Spec = spec
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, PodIPs: pod.Status.PodIPs}
	return pod, nil
}

// kernelKeepsDNSApart tells whether two DNS queries of one Pod at the same time
// may go through the queue. Before Linux 6.12 the second got lost
// (https://bugzilla.netfilter.org/show_bug.cgi?id=1766).
func kernelKeepsDNSApart() (bool, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	return atLeast(unix.ByteSliceToString(name.Release[:]), 6, 12), nil
}

// atLeast compares a kernel's release, as in 6.12.48+deb13-amd64, with a
// version. One that cannot be read is old.
func atLeast(release string, major, minor int) bool {
	numbers := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(numbers) < 2 {
		return false
	}
	x, errX := strconv.Atoi(numbers[0])
	y, errY := strconv.Atoi(numbers[1])
	if errX != nil || errY != nil {
		return false
	}
	return x > major || x == major && y >= minor
}
