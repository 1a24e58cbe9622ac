package control

import (
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
)

// auditPolicy says which requests are recorded: who changed what, who opened a
// way into a Pod, and who read what may be secret, without the contents. What
// the cluster's parts do all the time is left out, or the disk would write
// little else.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/*"]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [events, nodes/status, pods/status]}
  - {group: events.k8s.io, resources: [events]}
- level: None
  users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy]
  verbs: [get, list, watch]
- level: None
  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
  resources:
  - {group: authentication.k8s.io, resources: [tokenreviews]}
  - {group: authorization.k8s.io, resources: [subjectaccessreviews]}
- level: Metadata
  resources:
  - {group: "", resources: [secrets, configmaps, serviceaccounts/token]}
  - {group: "", resources: [pods/exec, pods/attach, pods/portforward, pods/proxy, pods/ephemeralcontainers, services/proxy, nodes/proxy]}
  - {group: authentication.k8s.io, resources: [tokenreviews]}
- level: None
  verbs: [get, list, watch]
- level: Metadata
`

func (c *Control) auditPolicyFile() string { return c.cred("audit.yaml") }

// auditFlags are the API server's. The files are bounded, in numbers that the
// CIS benchmark asks for: one of 100 MB and ten compressed ones, of which a
// small cluster fills none in a month.
func (c *Control) auditFlags() kube.Flags {
	return kube.Flags{
		"audit-policy-file":   c.auditPolicyFile(),
		"audit-log-path":      c.ServerDir("audit", "audit.log"),
		"audit-log-mode":      "batch", // requests do not wait for the disk
		"audit-log-compress":  "true",
		"audit-log-maxage":    "30", // days
		"audit-log-maxbackup": "10",
		"audit-log-maxsize":   "100", // MB
	}
}
