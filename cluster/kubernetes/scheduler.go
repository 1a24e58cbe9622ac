package kubernetes

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/cache"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Scheduler runs kube-scheduler until ctx ends or it fails. The API server
// must answer.
func Scheduler(ctx context.Context, flags Flags) error {
	o := options.NewOptions()
	if err := prepare("kube-scheduler", flags, *o.Flags, o.ComponentGlobalsRegistry, o.Logs); err != nil {
		return err
	}
	var err error
	if o.InformerName, err = cache.NewInformerName("kube-scheduler"); err != nil {
		return err
	}
	config, scheduling, err := scheduler.Setup(ctx, o)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	if err := scheduler.Run(ctx, config, scheduling); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	return nil
}
