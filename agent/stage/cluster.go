package stage

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-os/skerry/nodeconfig"
)

// clusterFile is where the cluster server or agent finds its settings.
const clusterFile = "/etc/skerry/config.yaml"

// writeClusterConfig tells the cluster binary what the node config says. A
// node that is told nothing is the first server of a cluster of its own.
func writeClusterConfig(path string, c *nodeconfig.Config) error {
	contents, err := yaml.Marshal(clusterSettings(c))
	if err != nil {
		return fmt.Errorf("what the node config says of the cluster: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// It may hold a token.
	return os.WriteFile(path, contents, 0o600)
}

// clusterSettings translates the node config into the words of the cluster
// binary, which are those of its flags.
func clusterSettings(config *nodeconfig.Config) map[string]any {
	c := config.Cluster
	if c == nil {
		c = &nodeconfig.Cluster{Role: nodeconfig.RoleServer}
	}
	settings := map[string]any{"role": string(c.Role)}
	if c.Role == nodeconfig.RoleServer && len(config.Access.Keys) > 0 {
		var keys []string
		for _, key := range config.Access.Keys {
			keys = append(keys, key.String())
		}
		settings["access-key"] = keys
	}
	for name, value := range map[string]string{"server": c.Join, "token": c.Token, "token-file": c.TokenFile} {
		if value != "" {
			settings[name] = value
		}
	}
	if c.Role == nodeconfig.RoleServer && c.Datastore != "" {
		settings["datastore"] = c.Datastore
	}
	if c.RestoreDamaged {
		settings["restore-damaged"] = true
	}
	if len(c.Labels) > 0 {
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
			labels = append(labels, key+"="+c.Labels[key])
		}
		settings["node-label"] = labels
	}
	if len(c.Taints) > 0 {
		settings["node-taint"] = c.Taints
	}
	if len(c.Kubelet) > 0 {
		settings["kubelet"] = c.Kubelet
	}
	if len(c.Manifests) > 0 {
		settings["manifests"] = c.Manifests
	}
	if registries := clusterRegistries(c.Registries); len(registries) > 0 {
		settings["registries"] = registries
	}
	return settings
}

func clusterRegistries(r nodeconfig.Registries) map[string]any {
	registries := map[string]any{}
	if len(r.Mirrors) > 0 {
		mirrors := map[string]any{}
		for name, mirror := range r.Mirrors {
			mirrors[name] = mirror.Endpoints
		}
		registries["mirrors"] = mirrors
	}
	if len(r.Credentials) > 0 {
		credentials := map[string]any{}
		for name, c := range r.Credentials {
			credentials[name] = map[string]any{"username": c.Username, "password": c.Password}
		}
		registries["credentials"] = credentials
	}
	return registries
}
