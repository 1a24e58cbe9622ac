package servicelb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name string, ready bool, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	return n
}

var born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// service is one that is as many minutes old as it is named later in a test.
func service(name string, age int, ports ...int32) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), CreationTimestamp: metav1.NewTime(born.Add(-time.Duration(age) * time.Minute))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: p})
	}
	return s
}

func has(s *corev1.Service, addresses ...string) *corev1.Service {
	mode := corev1.LoadBalancerIPModeVIP
	s.Status.LoadBalancer.Ingress = nil
	for _, a := range addresses {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a, IPMode: &mode})
	}
	return s
}

func TestAServiceHasTheAddressesOfReadyNodes(t *testing.T) {
	excluded := node("x", true, "192.0.2.9")
	excluded.Labels[corev1.LabelNodeExcludeBalancers] = ""
	leaving := node("l", true, "192.0.2.8")
	leaving.DeletionTimestamp = &metav1.Time{Time: born}
	external := node("e", true, "10.0.0.1")
	external.Status.Addresses = append(external.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "198.51.100.1"})
	both := service("s", 1, 80)
	both.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	for name, c := range map[string]struct {
		service *corev1.Service
		nodes   []*corev1.Node
		local   map[string]bool
		want    string
	}{
		"no node":          {service("s", 1, 80), nil, nil, ""},
		"in order":         {service("s", 1, 80), []*corev1.Node{node("b", true, "192.0.2.10"), node("a", true, "192.0.2.2")}, nil, "192.0.2.2 192.0.2.10"},
		"not Ready":        {service("s", 1, 80), []*corev1.Node{node("a", true, "192.0.2.1"), node("b", false, "192.0.2.2")}, nil, "192.0.2.1"},
		"excluded":         {service("s", 1, 80), []*corev1.Node{node("a", true, "192.0.2.1"), excluded, leaving}, nil, "192.0.2.1"},
		"external too":     {service("s", 1, 80), []*corev1.Node{external}, nil, "10.0.0.1 198.51.100.1"},
		"one family":       {service("s", 1, 80), []*corev1.Node{node("a", true, "192.0.2.1", "2001:db8::1")}, nil, "192.0.2.1"},
		"both families":    {both, []*corev1.Node{node("a", true, "192.0.2.1", "2001:db8::1")}, nil, "192.0.2.1 2001:db8::1"},
		"Pods elsewhere":   {service("s", 1, 80), []*corev1.Node{node("a", true, "192.0.2.1"), node("b", true, "192.0.2.2")}, map[string]bool{"b": true}, "192.0.2.2"},
		"Pods nowhere":     {has(service("s", 1, 80), "192.0.2.1"), []*corev1.Node{node("a", true, "192.0.2.1")}, map[string]bool{}, ""},
		"no node is Ready": {has(service("s", 1, 80), "192.0.2.1", "192.0.2.7"), []*corev1.Node{node("a", false, "192.0.2.1"), node("b", false, "192.0.2.2")}, nil, "192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(addressesFor(c.service, c.nodes, c.local), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAPortBelongsToTheOldestServiceAndNeverToOneThatTheClusterNeeds(t *testing.T) {
	taken := reserved()
	if why := taken.claim(service("first", 9, 80, 443)); why != "" {
		t.Error(why)
	}
	if why := taken.claim(service("second", 8, 8080, 443)); !strings.Contains(why, "port 443/TCP of the nodes belongs to Service default/first") {
		t.Errorf("%q", why)
	}
	if why := taken.claim(service("third", 7, 8080)); why != "" {
		t.Errorf("a port that the second would have taken: %s", why)
	}
	udp := service("udp", 6, 443)
	udp.Spec.Ports[0].Protocol = corev1.ProtocolUDP
	if why := taken.claim(udp); why != "" {
		t.Errorf("the same port of UDP: %s", why)
	}
	for _, p := range []int32{6443, 2380, 10250} {
		if why := taken.claim(service("thief", 99, p)); why == "" {
			t.Errorf("port %d was given away", p)
		}
	}
}

// until asks until an answer is as wanted: what a Run does follows its events.
func until(t *testing.T, what, want string, ask func() string) {
	t.Helper()
	var got string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = ask(); got == want {
			return
		}
	}
	t.Errorf("%s: %q, want %q", what, got, want)
}

func TestServicesFollowNodesAndEachOther(t *testing.T) {
	class := "example.com/other"
	foreign := service("foreign", 5, 80)
	foreign.Spec.LoadBalancerClass = &class
	internal := service("internal", 5, 80)
	internal.Spec.Type = corev1.ServiceTypeClusterIP
	client := fake.NewClientset(node("a", true, "192.0.2.1"), node("b", false, "192.0.2.2"),
		service("new", 1, 80), service("old", 3, 80), service("other", 2, 81), foreign, internal)
	ctx := t.Context()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, client) }()
	of := func(name string) func() string {
		return func() string {
			s, err := client.CoreV1().Services("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			var list []string
			for _, i := range s.Status.LoadBalancer.Ingress {
				mode := "none"
				if i.IPMode != nil {
					mode = string(*i.IPMode)
				}
				list = append(list, i.IP+" "+mode)
			}
			return strings.Join(list, ", ")
		}
	}
	until(t, "the oldest", "192.0.2.1 VIP", of("old"))
	until(t, "another port", "192.0.2.1 VIP", of("other"))
	until(t, "the newest", "", of("new"))
	until(t, "events", "new: PortTaken", func() string {
		list, _ := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		var events []string
		for _, e := range list.Items {
			events = append(events, e.InvolvedObject.Name+": "+e.Reason)
		}
		return strings.Join(events, ", ")
	})
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node("b", true, "192.0.2.2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "with another node", "192.0.2.1 VIP, 192.0.2.2 VIP", of("old"))
	if err := client.CoreV1().Services("default").Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the heir of the port", "192.0.2.1 VIP, 192.0.2.2 VIP", of("new"))

	local := service("local", 0, 90)
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	if _, err := client.CoreV1().Services("default").Create(ctx, local, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	on := "b"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "local-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.7"}, NodeName: &on}},
	}
	if _, err := client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a Service for local Pods", "192.0.2.2 VIP", of("local"))
	until(t, "another class", "", of("foreign"))
	until(t, "another type", "", of("internal"))
	select {
	case err := <-ended:
		t.Errorf("it ended: %v", err)
	default:
	}
}

func TestWhatIsAsItShouldBeIsNotWritten(t *testing.T) {
	nodes := []*corev1.Node{node("a", true, "192.0.2.1")}
	s := has(service("s", 1, 80), "192.0.2.1")
	if !same(s.Status.LoadBalancer.Ingress, addressesFor(s, nodes, nil)) {
		t.Error("a Service that has its addresses would be written")
	}
	s.Status.LoadBalancer.Ingress[0].IPMode = nil
	if same(s.Status.LoadBalancer.Ingress, addressesFor(s, nodes, nil)) {
		t.Error("a Service without a mode would stay so")
	}
	again := nodes[0].DeepCopy()
	again.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
	if !sameNode(nodes[0], again) {
		t.Error("a heartbeat counts as a change")
	}
	for i, other := range []*corev1.Node{node("a", false, "192.0.2.1"), node("a", true, "192.0.2.2")} {
		if sameNode(nodes[0], other) {
			t.Error(fmt.Sprint("change ", i, " is overlooked"))
		}
	}
}
