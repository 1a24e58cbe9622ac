package control

import (
	"context"
	"errors"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// How servers agree on which of them does what only one may do. The times are
// longer than Kubernetes' own: etcd may choose another leader meanwhile, and a
// server that does not lead any more has to start anew.
const (
	leaseDuration = 30 * time.Second
	renewDeadline = 20 * time.Second
	retryPeriod   = 4 * time.Second
)

// errLostLead ends the process: components of Kubernetes cannot be started
// twice in one.
var errLostLead = errors.New("this server does not lead the others any more: it starts anew")

// asLeader runs something until ctx ends or it fails, on one server at a time.
// There is one lease for all that only one server may do: the elections that
// controller manager and scheduler have write one each, and end the process
// on their own when it is to stop. A single server is the leader.
func (c *Control) asLeader(ctx context.Context, client kubernetes.Interface, run func(context.Context) error) error {
	if !c.Several() {
		return run(ctx)
	}
	leading, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "skerry", Namespace: metav1.NamespaceSystem},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.NodeName},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, Name: "skerry",
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				slog.Info("this server leads")
				ended <- run(ctx)
				stop()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(leading)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	default:
		return errLostLead
	}
}
