package kubernetes

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/cache"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	scheduling "k8s.io/kubernetes/pkg/scheduler"
)

// Scheduler is a kube-scheduler that has been set up.
type Scheduler struct {
	config     *schedulerconfig.CompletedConfig
	scheduling *scheduling.Scheduler
}

// NewScheduler sets up a kube-scheduler, which asks the API server for nothing.
// What it is made of ends with ctx.
func NewScheduler(ctx context.Context, flags Flags) (*Scheduler, error) {
	o := options.NewOptions()
	if err := prepare("kube-scheduler", flags, *o.Flags, o.ComponentGlobalsRegistry, o.Logs); err != nil {
		return nil, err
	}
	var err error
	if o.InformerName, err = cache.NewInformerName("kube-scheduler"); err != nil {
		return nil, err
	}
	config, scheduling, err := scheduler.Setup(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("kube-scheduler: %w", err)
	}
	return &Scheduler{config, scheduling}, nil
}

// Run schedules until ctx ends or it fails. The API server must answer.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := scheduler.Run(ctx, s.config, s.scheduling); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	return nil
}
