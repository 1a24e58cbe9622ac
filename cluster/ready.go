package cluster

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
)

// waitUntilReady returns once the API server answers and, where there is a
// node, its kubelet has reported since the start that it is Ready.
func waitUntilReady(ctx context.Context, c *config.Config, credentials string, began time.Time, progress func(string)) error {
	var client kubernetes.Interface
	var told string
	node := reports{began: began}
	return wait.PollUntilContextCancel(ctx, 250*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if client == nil {
			_, made, err := kubeconfig.Client(credentials)
			if err != nil {
				return false, nil // it is not written yet
			}
			client = made
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if c.DisableAgent {
			return kubeconfig.Ready(ctx, client), nil
		}
		found, err := client.CoreV1().Nodes().Get(ctx, c.NodeName, metav1.GetOptions{})
		if err != nil {
			return false, nil
		}
		lacks, ready := node.judge(found.Status.Conditions)
		if lacks != "" && lacks != told {
			told = lacks
			progress(lacks)
		}
		return ready, nil
	})
}

// reports are what a kubelet says of its Node. They stay in the datastore: a
// Node that was Ready when the machine lost its power says so until its kubelet
// says something else.
type reports struct {
	began time.Time    // when this start did
	first *metav1.Time // of the first report that was seen
}

// judge tells whether a kubelet has reported since the start that its Node is
// Ready, and else in a few words what is lacking.
func (r *reports) judge(conditions []corev1.NodeCondition) (lacks string, ready bool) {
	for _, condition := range conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		reported := condition.LastHeartbeatTime
		if r.first == nil {
			r.first = &reported
		}
		// By the clock as it is now, which may have been set since the start: a
		// report that is not the first one is new, whenever it seems to be from.
		now := time.Now()
		began := now.Add(-now.Sub(r.began)).Truncate(time.Second) // as the API's times
		if reported.Equal(r.first) && (reported.Time.Before(began) || reported.Time.After(now)) {
			return "the node has not reported since this start", false
		}
		if condition.Status != corev1.ConditionTrue {
			return "the node is not Ready: " + condition.Message, false
		}
		return "", true
	}
	return "", false
}
