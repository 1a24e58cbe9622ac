// Package addons keeps the cluster's own objects and those of manifests
// applied.
package addons

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/config"
)

// Applier applies objects.
type Applier struct{}

// New returns an applier.
func New(c *config.Config, restConfig *rest.Config, client kubernetes.Interface) (*Applier, error) {
	return &Applier{}, nil
}

// Run applies until ctx ends.
func (a *Applier) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
