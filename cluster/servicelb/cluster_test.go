//go:build cluster

package servicelb

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-os/skerry/cluster/clustertest"
)

// The model of client-go does not know field selectors, nor what happens to a
// status when a Service changes its type.
func TestBalancerAgainstAnAPIServer(t *testing.T) {
	server := clustertest.Start(t, "--disable", "servicelb")
	client := server.Client
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, client) }()

	made := node("n", true, "192.0.2.1")
	if _, err := client.CoreV1().Nodes().Create(ctx, made, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	services := client.CoreV1().Services("default")
	for _, name := range []string{"one", "two"} {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}},
		}}
		if _, err := services.Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	address := func(name string) string {
		s, err := services.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return ""
		}
		return s.Status.LoadBalancer.Ingress[0].IP
	}
	clustertest.Eventually(t, "the first has an address", func() bool { return address("one") == "192.0.2.1" })
	if got := address("two"); got != "" {
		t.Errorf("the second has %s", got)
	}
	patch := func(name, text string) {
		if _, err := services.Patch(t.Context(), name, types.MergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch("one", `{"spec":{"type":"ClusterIP"}}`)
	clustertest.Eventually(t, "the second has it", func() bool { return address("two") == "192.0.2.1" })
	if got := address("one"); got != "" {
		t.Errorf("a Service of another type still has %s", got)
	}

	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := Withdraw(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if got := address("two"); got != "" {
		t.Errorf("after Withdraw: %s", got)
	}
}
