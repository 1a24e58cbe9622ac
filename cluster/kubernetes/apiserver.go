package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/tools/cache"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// APIServer is a kube-apiserver.
type APIServer struct {
	Flags Flags
	// Front, if it is set, is put before all handlers, authentication
	// included: what it does not pass on is its own responsibility.
	Front func(next http.Handler) http.Handler
	// DialKubelet, if it is set, makes the connections to kubelets.
	DialKubelet utilnet.DialFunc
	// Filled must be closed when the datastore has what FirstObjects returns, or
	// will not get it. The API server's hooks for these objects wait for it;
	// whoever else makes one of them meanwhile does no harm.
	Filled <-chan struct{}
}

// Run serves the API until ctx ends or it fails.
func (s APIServer) Run(ctx context.Context) error {
	o := options.NewServerRunOptions()
	if err := prepare("kube-apiserver", s.Flags, o.Flags(), o.GenericServerRunOptions.ComponentGlobalsRegistry, o.Logs); err != nil {
		return err
	}
	if err := s.serve(ctx, o); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}

func (s APIServer) serve(ctx context.Context, o *options.ServerRunOptions) error {
	var err error
	if o.InformerName, err = cache.NewInformerName("kube-apiserver"); err != nil {
		return err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return utilerrors.NewAggregate(errs)
	}
	config, err := apiserver.NewConfig(completed)
	if err != nil {
		return err
	}
	if s.Front != nil {
		generic := config.Aggregator.GenericConfig
		build := generic.BuildHandlerChainFunc
		generic.BuildHandlerChainFunc = func(handler http.Handler, c *genericapiserver.Config) http.Handler {
			return s.Front(build(handler, c))
		}
	}
	if s.DialKubelet != nil {
		config.KubeAPIs.Extra.KubeletClientConfig.Lookup = func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
			return s.DialKubelet, nil
		}
	}
	// All servers of the chain look in this set when a hook is added: upstream's
	// are refused, ours are not.
	disabled := config.KubeAPIs.ControlPlane.Generic.DisabledPostStartHooks
	disabled.Insert(slices.Collect(maps.Keys(bootstrapHooks))...)
	whole, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := apiserver.CreateServerChain(whole)
	if err != nil {
		return err
	}
	disabled.Delete(slices.Collect(maps.Keys(bootstrapHooks))...)
	for name, ensure := range bootstrapHooks {
		if err := chain.GenericAPIServer.AddPostStartHook(name, bootstrapHook(name, s.Filled, ensure)); err != nil {
			return err
		}
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}
