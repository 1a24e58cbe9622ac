package kubernetes

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfigvalidation "k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// Kubelet runs a kubelet with a configuration file of kind
// KubeletConfiguration until ctx ends or it fails. The flags are those that
// the file has no words for. The API server need not answer.
func Kubelet(ctx context.Context, configFile string, flags Flags) error {
	if err := setGlobals(); err != nil {
		return err
	}
	kubeletFlags := options.NewKubeletFlags()
	set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	kubeletFlags.AddFlags(set)
	options.AddGlobalFlags(set)
	if err := flags.set("kubelet", set); err != nil {
		return err
	}
	if err := options.ValidateKubeletFlags(kubeletFlags); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, configFile)
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	config, err := loader.Load(ctx)
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(config.FeatureGates); err != nil {
		return fmt.Errorf("kubelet: %s: featureGates: %w", configFile, err)
	}
	if err := applyLogging(&config.Logging, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	if err := kubeletconfigvalidation.ValidateKubeletConfiguration(config, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("kubelet: %s: %w", configFile, err)
	}
	server := &options.KubeletServer{KubeletFlags: *kubeletFlags, KubeletConfiguration: *config}
	dependencies, err := kubelet.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	if err := kubelet.Run(ctx, server, dependencies, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	return nil
}
