package control

import (
	"maps"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/cluster/config"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/pki"
)

// apiServerFlags are those of the API server, with those that name its
// datastore.
func (c *Control) apiServerFlags(datastore kube.Flags) kube.Flags {
	issuer := "https://kubernetes.default.svc." + c.ClusterDomain
	flags := kube.Flags{
		"bind-address":             "::",
		"secure-port":              strconv.Itoa(config.Port),
		"advertise-address":        c.Address,
		"endpoint-reconciler-type": c.endpointReconciler(),
		"service-cluster-ip-range": c.ServiceCIDR,

		"tls-cert-file":        c.cred("serving.crt"),
		"tls-private-key-file": c.cred("serving.key"),
		"tls-min-version":      "VersionTLS12",
		"tls-cipher-suites":    strings.Join(pki.CipherSuites, ","),

		"authentication-config": c.authenticationFile(),
		"client-ca-file":        c.tls("client-ca.crt"),
		"authorization-mode":    "Node,RBAC",

		"service-account-issuer":           issuer,
		"api-audiences":                    issuer,
		"service-account-key-file":         c.tls(serviceAccountKey),
		"service-account-signing-key-file": c.tls(serviceAccountKey),
		// Tokens in Pods live for an hour, and clients read the new one from the
		// file; else the API server has them live for a year.
		"service-account-extend-token-expiration": "false",

		"kubelet-certificate-authority":   c.tls("server-ca.crt"),
		"kubelet-client-certificate":      c.cred("kubelet-client.crt"),
		"kubelet-client-key":              c.cred("kubelet-client.key"),
		"kubelet-preferred-address-types": "Hostname", // see dialKubelet

		"proxy-client-cert-file":             c.cred("front-proxy.crt"),
		"proxy-client-key-file":              c.cred("front-proxy.key"),
		"requestheader-client-ca-file":       c.tls("front-proxy-ca.crt"),
		"requestheader-allowed-names":        "system:front-proxy",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		// Extensions of the API run as Pods; Services lead to them through the
		// nodes' own rules only where the server is a node.
		"enable-aggregator-routing": "true",

		"enable-admission-plugins":      "NodeRestriction,DenyServiceExternalIPs",
		"admission-control-config-file": c.admissionFile(),
		"encryption-provider-config":    c.encryptionFile(),
		"etcd-prefix":                   kube.StoragePrefix,
		"allow-privileged":              "true",
		"profiling":                     "false",
	}
	maps.Copy(flags, datastore)
	maps.Copy(flags, c.auditFlags())
	return flags
}

// endpointReconciler says who writes where the Service kubernetes leads. Several
// servers have a lease each, which is written every few seconds. A single one
// writes its address once by itself, see publishEndpoint: small disks wear out.
func (c *Control) endpointReconciler() string {
	if c.Several() {
		return "lease"
	}
	return "none"
}

func (c *Control) controllerManagerFlags() kube.Flags {
	return kube.Flags{
		"kubeconfig":                       c.cred("controller-manager.kubeconfig"),
		"use-service-account-credentials":  "true",
		"service-account-private-key-file": c.tls(serviceAccountKey),
		"root-ca-file":                     c.tls("server-ca.crt"),
		"cluster-signing-cert-file":        c.tls("client-ca.crt"),
		"cluster-signing-key-file":         c.tls("client-ca.key"),
		"allocate-node-cidrs":              strconv.FormatBool(c.FlannelBackend != "none"),
		"cluster-cidr":                     c.ClusterCIDR,
		// At its start each controller looks for its account and asks for a token,
		// some 200 requests in all. With the usual 20 a second, the default
		// ServiceAccount came six seconds after the API server was ready.
		"kube-api-qps":   "200",
		"kube-api-burst": "400",

		// Where the kubelet looks for them: the usual place may be read-only, and on
		// other Linuxes is not ours.
		"flex-volume-plugin-dir": c.AgentDir("volume-plugins"),

		"leader-elect": "false", // see asLeader
		"secure-port":  "0",     // metrics are at the API server's
		"profiling":    "false",
	}
}

func (c *Control) schedulerFlags() kube.Flags {
	return kube.Flags{
		"kubeconfig":   c.cred("scheduler.kubeconfig"),
		"leader-elect": "false",
		"secure-port":  "0",
		"profiling":    "false",
	}
}
