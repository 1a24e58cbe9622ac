package kubernetes

import (
	"context"
	"fmt"
	"net"
	"net/http"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	basecompatibility "k8s.io/component-base/compatibility"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// APIServer is a kube-apiserver.
type APIServer struct {
	Flags Flags
	// Listener, if it is set, is used instead of --bind-address and
	// --secure-port; --secure-port must still name its port.
	Listener net.Listener
	// Front, if it is set, is put before all handlers, authentication
	// included: what it does not pass on is its own responsibility.
	Front func(next http.Handler) http.Handler
	// DialKubelet, if it is set, makes the connections to kubelets.
	DialKubelet utilnet.DialFunc
	// Started gets a client with all rights before requests are served.
	Started func(loopback *restclient.Config)
}

// Run serves the API until ctx ends or it fails.
func (s APIServer) Run(ctx context.Context) error {
	if err := setGlobals(); err != nil {
		return err
	}
	o := options.NewServerRunOptions()
	if err := s.Flags.set("kube-apiserver", named(o.Flags())...); err != nil {
		return err
	}
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	gates := o.GenericServerRunOptions.ComponentGlobalsRegistry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := applyLogging(o.Logs, gates); err != nil {
		return err
	}
	if s.Listener != nil {
		o.SecureServing.Listener = s.Listener
	}
	var err error
	if o.InformerName, err = cache.NewInformerName("kube-apiserver"); err != nil {
		return err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("kube-apiserver: %w", utilerrors.NewAggregate(errs))
	}
	config, err := apiserver.NewConfig(completed)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
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
	whole, err := config.Complete()
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	chain, err := apiserver.CreateServerChain(whole)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if s.Started != nil {
		s.Started(chain.GenericAPIServer.LoopbackClientConfig)
	}
	if err := prepared.Run(ctx); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}
