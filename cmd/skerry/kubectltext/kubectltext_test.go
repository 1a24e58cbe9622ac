package kubectltext

import (
	"strings"
	"testing"
)

func TestOnlyKubectlHasTranslations(t *testing.T) {
	for line, want := range map[string]bool{
		"": false, "/usr/bin/skerry server": false, "/usr/bin/skerry run control": false, "/coredns -conf x": false,
		"/usr/bin/skerry kubectl get nodes": true, "/usr/local/bin/kubectl": true, "kubectl get pods": true,
		"/usr/bin/skerry kubeconfig kubectl": false,
	} {
		if got := isKubectl(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
