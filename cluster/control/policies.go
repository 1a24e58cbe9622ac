package control

import (
	"github.com/skerry-os/skerry/cluster/atomicfile"
)

// Health is what anybody may ask without a certificate: load balancers do.
const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
`

// Pods that could take over the node draw a warning, everywhere but where the
// cluster's own live.
const admission = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults:
      enforce: privileged
      enforce-version: latest
      warn: baseline
      warn-version: latest
      audit: baseline
      audit-version: latest
    exemptions:
      namespaces: [kube-system]
`

func (c *Control) authenticationFile() string { return c.cred("authentication.yaml") }
func (c *Control) admissionFile() string      { return c.cred("admission.yaml") }

// writePolicies writes the files that the API server's flags name.
func (c *Control) writePolicies() error {
	for path, contents := range map[string]string{c.authenticationFile(): authentication, c.admissionFile(): admission, c.auditPolicyFile(): auditPolicy} {
		if err := atomicfile.Write(path, []byte(contents), 0o600); err != nil {
			return err
		}
	}
	return nil
}
