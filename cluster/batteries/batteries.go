// Package batteries has the programs of other projects that run in Pods of every
// cluster: CoreDNS and metrics-server. Their objects are package addons'.
//
// They are part of the single binary, which their container images have under
// the battery's name. What they and Kubernetes have in common, which is nearly
// all of them, is on the disk and in memory once. Each runs in a process of its
// own: they have flags and metrics in global variables.
//
// client-go's metrics can have one owner in a program, and the package of
// Kubernetes' components (k8s.io/component-base/metrics/prometheus/restclient)
// comes first. CoreDNS's metrics coredns_kubernetes_rest_client_… are missing.
package batteries

// Named returns what runs the battery of a name, with the arguments in os.Args
// until a signal ends it, and nil if there is no such battery.
func Named(name string) func() error {
	switch name {
	case "coredns":
		return coreDNS
	case "metrics-server":
		return metricsServer
	}
	return nil
}
