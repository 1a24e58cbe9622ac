package stage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/skerry-os/skerry/nodeconfig"
)

// told is what the cluster binary reads for a node config.
func told(t *testing.T, text string) map[string]any {
	t.Helper()
	config, err := nodeconfig.Parse(nodeconfig.FileName, []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "skerry", "config.yaml")
	if err := writeClusterConfig(path, config); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file, which may hold a token, has mode %v", info.Mode())
	}
	contents, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := yaml.Unmarshal(contents, &settings); err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestANodeThatIsToldNothingIsTheFirstServer(t *testing.T) {
	if diff := cmp.Diff(map[string]any{"role": "server"}, told(t, "")); diff != "" {
		t.Error(diff)
	}
}

const accessKey = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ops@example.com"

func TestTheClusterIsToldWhatTheNodeConfigSays(t *testing.T) {
	const token = "K103b4c5d6e7f80910a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607182::agent:secret"
	got := told(t, `cluster:
  role: agent
  join: https://192.0.2.10:6443
  token: `+token+`
  labels: {site: berlin-3, rack: "7"}
  taints: ["dedicated=camera:NoSchedule"]
  kubelet: {maxPods: 30}
  registries:
    mirrors: {docker.io: {endpoints: ["https://mirror.example"]}}
    credentials: {mirror.example: {username: u, password: p}}
access: {keys: ["`+accessKey+`"]}
`)
	want := map[string]any{
		"role": "agent", "server": "https://192.0.2.10:6443", "token": token,
		"node-label": []any{"rack=7", "site=berlin-3"}, "node-taint": []any{"dedicated=camera:NoSchedule"},
		"kubelet": map[string]any{"maxPods": 30},
		"registries": map[string]any{
			"mirrors":     map[string]any{"docker.io": []any{"https://mirror.example"}},
			"credentials": map[string]any{"mirror.example": map[string]any{"username": "u", "password": "p"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAServerKnowsWhoMayUseIt(t *testing.T) {
	got := told(t, "access: {keys: [\""+accessKey+"\"]}\n")
	if diff := cmp.Diff(map[string]any{"role": "server", "access-key": []any{accessKey}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestADamagedDatastoreIsRestoredOnlyIfTheNodeConfigSaysSo(t *testing.T) {
	got := told(t, "cluster: {role: server, restoreDamaged: true}\n")
	if diff := cmp.Diff(map[string]any{"role": "server", "datastore": "sqlite", "restore-damaged": true}, got); diff != "" {
		t.Error(diff)
	}
}
