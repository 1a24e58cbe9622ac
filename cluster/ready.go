package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/notify"
)

const (
	askUntilReady = 250 * time.Millisecond
	askWhenReady  = 30 * time.Second
	// mostUnanswered is how often in a row nothing can be learned before that is
	// told: a board that is busy answers late.
	mostUnanswered = 1
)

// readiness asks whether the API server answers and, where there is a node,
// whether its kubelet has reported since the start that it is Ready.
type readiness struct {
	config      *config.Config
	credentials string // kubeconfig
	client      kubernetes.Interface
	node        reports
}

var (
	errSilent = errors.New("the API server does not answer")
	errNoNode = errors.New("the cluster has no Node for this machine any more")
)

// ask tells whether all is Ready, and else in a few words what is lacking.
func (r *readiness) ask(ctx context.Context) (lacks string, ready bool, err error) {
	if r.client == nil {
		_, made, err := kubeconfig.Client(r.credentials)
		if err != nil {
			return "", false, errSilent // it is not written yet
		}
		r.client = made
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if r.config.DisableAgent {
		if !kubeconfig.Ready(ctx, r.client) {
			return "", false, errSilent
		}
		return "", true, nil
	}
	// Out of its memory: the datastore is not asked.
	found, err := r.client.CoreV1().Nodes().Get(ctx, r.config.NodeName, metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return "", false, errNoNode
	}
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		return "", false, fmt.Errorf("the API server refuses this machine: %w", err)
	}
	if err != nil {
		return "", false, errSilent
	}
	lacks, ready = r.node.judge(found.Status.Conditions)
	return lacks, ready, nil
}

// waitUntilReady returns once all is Ready, or ctx ends.
func (r *readiness) waitUntilReady(ctx context.Context, progress func(string)) error {
	progress = notify.Changes("", progress)
	return wait.PollUntilContextCancel(ctx, askUntilReady, true, func(ctx context.Context) (bool, error) {
		lacks, ready, err := r.ask(ctx)
		if err != nil {
			return false, nil // what starts tells
		}
		if lacks != "" {
			progress(lacks)
		}
		return ready, nil
	})
}

// keepTelling says what is lacking, when it changes, of what was Ready, until ctx
// ends.
func keepTelling(ctx context.Context, ask func(context.Context) (lacks string, ready bool, err error), ready string, tell func(string)) {
	tell = notify.Changes(ready, tell)
	unanswered := 0
	ticker := time.NewTicker(askWhenReady)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		text, isReady, err := ask(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			if unanswered++; unanswered <= mostUnanswered {
				continue
			}
			text = err.Error()
		case isReady:
			text = ready
		}
		if err == nil {
			unanswered = 0
		}
		if text != "" {
			tell(text)
		}
	}
}

// reports are what a kubelet says of its Node. They stay in the datastore: a
// Node that was Ready when the machine lost its power says so until its kubelet
// says something else.
type reports struct {
	began time.Time    // when this start did
	first *metav1.Time // of the first report that was seen
	since bool         // whether one came since the start that said Ready
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
		if !r.since && reported.Equal(r.first) && (reported.Time.Before(began) || reported.Time.After(now)) {
			return "the node has not reported since this start", false
		}
		if condition.Status != corev1.ConditionTrue {
			return "the node is not Ready: " + condition.Message, false
		}
		r.since = true
		return "", true
	}
	return "", false
}
