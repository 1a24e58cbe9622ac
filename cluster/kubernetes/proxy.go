package kubernetes

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

// Proxy runs kube-proxy until ctx ends or it fails.
func Proxy(ctx context.Context, flags Flags) error {
	if err := setGlobals(); err != nil {
		return err
	}
	o := proxy.NewOptions()
	set := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	o.AddFlags(set)
	if err := flags.set("kube-proxy", set); err != nil {
		return err
	}
	if err := o.Complete(set); err != nil {
		return fmt.Errorf("kube-proxy: %w", err)
	}
	if err := o.Validate(); err != nil {
		return fmt.Errorf("kube-proxy: %w", err)
	}
	if err := o.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kube-proxy: %w", err)
	}
	return nil
}
