// Package kubernetes runs the components of Kubernetes in this process. It is
// the only package that knows their constructors: what moves from one minor
// version to the next is mended here.
//
// Every component is a function that returns when its context ends or when it
// fails. The components were written to be processes: each can run once in
// the life of a process, and those that share one share feature gates, metrics
// and the settings of the log. Whoever calls them ends the process when one of
// them fails, and starts a new one.
//
// Settings are flags, named as in the component's documentation, for these are
// what Kubernetes keeps stable; the kubelet has its configuration file too.
package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/spf13/pflag"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	restclient "k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
)

// Flags are a component's settings: names without dashes, and values.
type Flags map[string]string

// set gives the flags their values.
func (f Flags) set(component string, sets ...*pflag.FlagSet) error {
	all := pflag.NewFlagSet(component, pflag.ContinueOnError)
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range sets {
		all.AddFlagSet(set)
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := all.Set(name, f[name]); err != nil {
			return fmt.Errorf("%s: --%s=%s: %w", component, name, f[name], err)
		}
	}
	return nil
}

// disabledGates are features that cost a node more than they bring it. The
// first two write leases and heartbeats of API servers to the disk every ten
// seconds, for clusters whose servers have different versions.
var disabledGates = map[string]bool{
	"APIServerIdentity":                   false,
	"UnknownVersionInteroperabilityProxy": false,
}

var (
	globals    sync.Once
	globalsErr error
)

// setGlobals sets what all components of a process share. It may be called by
// each.
func setGlobals() error {
	globals.Do(func() {
		// Components watch deprecated versions on purpose.
		restclient.SetDefaultWarningHandler(restclient.NoWarnings{})
		logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
		globalsErr = utilfeature.DefaultMutableFeatureGate.SetFromMap(disabledGates)
	})
	return globalsErr
}

// applyLogging sets up the log of the process; all its components want the
// same.
func applyLogging(c *logsapi.LoggingConfiguration, gates featuregate.FeatureGate) error {
	if err := logsapi.ValidateAndApply(c, gates); err != nil {
		return fmt.Errorf("set up the log: %w", err)
	}
	return nil
}

// preparing is held while a component changes what belongs to the process: they
// are set up at the same time.
var preparing sync.Mutex

// prepare sets the flags of a component of the control plane, and with them the
// gates and the log, which belong to the whole process.
func prepare(component string, flags Flags, sets cliflag.NamedFlagSets, registry compatibility.ComponentGlobalsRegistry, log *logsapi.LoggingConfiguration) error {
	preparing.Lock()
	defer preparing.Unlock()
	if err := setGlobals(); err != nil {
		return err
	}
	if err := flags.set(component, slices.Collect(maps.Values(sets.FlagSets))...); err != nil {
		return err
	}
	if err := registry.Set(); err != nil {
		return err
	}
	return applyLogging(log, registry.FeatureGateFor(compatibility.DefaultKubeComponent))
}
