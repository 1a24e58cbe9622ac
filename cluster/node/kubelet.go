package node

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/container"
	"github.com/skerry-os/skerry/cluster/join"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/pki"
)

// mostProcesses of one Pod, threads included: a Pod that forks without end
// does not take the node with it.
const mostProcesses = 4096

func (n *Node) kubeletFile() string { return n.run("kubelet.yaml") }

// kubeletConfig is a KubeletConfiguration, see
// https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/.
func (n *Node) kubeletConfig(m *join.Response) map[string]any {
	return map[string]any{
		"apiVersion": config.KubeletAPIVersion,
		"kind":       config.KubeletKind,

		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": n.clientCAFile()},
		},
		"authorization":      map[string]any{"mode": "Webhook"},
		"readOnlyPort":       0,
		"tlsCertFile":        n.servingCertFile(),
		"tlsPrivateKeyFile":  n.runKeyFile(),
		"tlsMinVersion":      "VersionTLS12",
		"tlsCipherSuites":    pki.CipherSuites,
		"healthzBindAddress": "127.0.0.1",

		"containerRuntimeEndpoint": "unix://" + container.Socket(n.Config),
		"cgroupDriver":             container.CgroupDriver(),
		"clusterDNS":               []string{m.ClusterDNS},
		"clusterDomain":            m.ClusterDomain,
		"staticPodPath":            n.AgentDir("pods"),
		"failSwapOn":               false,
		"protectKernelDefaults":    true,
		"seccompDefault":           true,
		"podPidsLimit":             mostProcesses,
		"serializeImagePulls":      false,
		"volumePluginDir":          n.AgentDir("volume-plugins"),
		"registerWithTaints":       taints(n.NodeTaints),
		// The lease says that the node lives, and changes are reported at once: a
		// status that is the same is written to the server's disk for nothing.
		"nodeStatusReportFrequency": "1h",
	}
}

// taints reads key=value:effect and key:effect, which config has checked.
func taints(texts []string) []map[string]string {
	list := make([]map[string]string, 0, len(texts))
	for _, text := range texts {
		pair, effect, _ := strings.Cut(text, ":")
		key, value, _ := strings.Cut(pair, "=")
		list = append(list, map[string]string{"key": key, "value": value, "effect": effect})
	}
	return list
}

func (n *Node) writeKubeletConfig(m *join.Response) error {
	settings := n.kubeletConfig(m)
	merge(settings, n.Kubelet)
	contents, err := yaml.Marshal(settings)
	if err != nil {
		return fmt.Errorf("the kubelet's configuration: %w", err)
	}
	// The kubelet complains of a missing folder once a second.
	if err := os.MkdirAll(n.AgentDir("pods"), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(n.kubeletFile(), contents, 0o600)
}

// merge has the fields of one mapping replace those of another, in mappings within
// them too: who sets a time under authentication keeps the rest of it.
func merge(into, from map[string]any) {
	for key, value := range from {
		old, ok := into[key].(map[string]any)
		if fields, both := value.(map[string]any); ok && both {
			merge(old, fields)
			continue
		}
		into[key] = value
	}
}

func (n *Node) kubeletFlags() kube.Flags {
	flags := kube.Flags{
		"kubeconfig":        n.nodeKubeconfig(),
		"hostname-override": n.NodeName,
		"node-ip":           n.NodeIP,
		"cert-dir":          n.RunFile("node", "pki"),
	}
	if len(n.NodeLabels) > 0 {
		flags["node-labels"] = strings.Join(n.NodeLabels, ",")
	}
	return flags
}

func (n *Node) proxyFlags(m *join.Response) kube.Flags {
	return kube.Flags{
		"kubeconfig":           n.proxyKubeconfig(),
		"hostname-override":    n.NodeName,
		"proxy-mode":           "nftables",
		"cluster-cidr":         m.ClusterCIDR,
		"healthz-bind-address": "127.0.0.1:10256",
		"metrics-bind-address": "127.0.0.1:10249",
	}
}

// healthURL is where a kubelet answers to a ping; settings cannot change that
// (KubeletConfiguration, healthzPort).
const healthURL = "http://127.0.0.1:10248/healthz"

// Ask waits for an answer of this machine's kubelet, whatever it is.
func Ask(ctx context.Context) error { return ask(ctx, healthURL) }

func ask(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}
