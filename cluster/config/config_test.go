package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func server() *Config {
	c := Defaults(Server)
	c.NodeName = "node-1"
	return c
}

func TestDefaultsAreComplete(t *testing.T) {
	c := server()
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if c.ClusterDNS != "10.43.0.10" || c.APIService() != "10.43.0.1" {
		t.Errorf("DNS %s, API %s", c.ClusterDNS, c.APIService())
	}
}

func TestWhatCannotBeIsNamedByItsFlag(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--node-name":                func(c *Config) { c.NodeName = "Shop_17" },
		"--node-ip":                  func(c *Config) { c.NodeIP = "shop" },
		"--node-label shop":          func(c *Config) { c.NodeLabels = []string{"shop/=17"} },
		"--node-taint":               func(c *Config) { c.NodeTaints = []string{"shop=17:Never"} },
		`unknown field "MaxPods"`:    func(c *Config) { c.Kubelet = map[string]any{"MaxPods": 30} },
		"kind: KubeletConfiguration": func(c *Config) { c.Kubelet = map[string]any{"kind": "x"} },
		"--restore-damaged":          func(c *Config) { c.RestoreDamaged, c.ClusterInit = true, true },
		`unknown field "maxPod"`:     func(c *Config) { c.Kubelet = map[string]any{"maxPod": 30} },
		"healthzPort":                func(c *Config) { c.Kubelet = map[string]any{"healthzPort": 0} },
		"maxPods":                    func(c *Config) { c.Kubelet = map[string]any{"maxPods": "many"} },
		"--data-dir":                 func(c *Config) { c.DataDir = "data" },
		"--token and":                func(c *Config) { c.Token, c.TokenFile = "a", "/b" },
		"--disable":                  func(c *Config) { c.Disable = []string{"traefik"} },
		"--datastore":                func(c *Config) { c.Datastore = "mysql://user:secret@db" },
		"single server":              func(c *Config) { c.Datastore, c.ClusterInit = "sqlite", true },
		"--cluster-init":             func(c *Config) { c.ClusterInit, c.Server = true, "https://192.0.2.1:6443" },
		"--snapshot-interval":        func(c *Config) { c.SnapshotInterval = time.Second },
		"--snapshot-keep":            func(c *Config) { c.SnapshotKeep = 0 },
		"--flannel-backend":          func(c *Config) { c.FlannelBackend = "udp" },
		"--cluster-cidr":             func(c *Config) { c.ClusterCIDR = "10.42.0.1/16" },
		"--service-cidr":             func(c *Config) { c.ServiceCIDR = "10.43.0.0/30" },
		"overlaps":                   func(c *Config) { c.ServiceCIDR = "10.42.128.0/20" },
		"--cluster-dns":              func(c *Config) { c.ClusterDNS = "10.44.0.10" },
		"an agent needs":             func(c *Config) { c.Role = Agent },
		"--server \"http":            func(c *Config) { c.Role, c.Server = Agent, "http://192.0.2.1" },
	} {
		c := server()
		change(c)
		if err := c.Complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSeveralServersMeanEtcd(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"sqlite": func(c *Config) {},
		"etcd":   func(c *Config) { c.ClusterInit = true },
		"etcd ":  func(c *Config) { c.Server = "https://192.0.2.1:6443" },
		"etcd  ": func(c *Config) { c.Datastore = "etcd" },
	} {
		c := server()
		change(c)
		if err := c.Complete(); err != nil || c.Datastore != strings.TrimSpace(want) {
			t.Errorf("%q, want %q: %v", c.Datastore, want, err)
		}
	}
}

func TestAPasswordOfADatastoreIsNotTold(t *testing.T) {
	c := server()
	c.Datastore = "postgres://user:hunter2@db"
	if err := c.Complete(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("told: %v", err)
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	c := server()
	c.NodeName, c.Disable = "_", []string{"x"}
	if err := c.Complete(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("told: %v", err)
	}
}

// flags are some of a server's, of each kind.
func flags(c *Config) *pflag.FlagSet {
	set := pflag.NewFlagSet("server", pflag.ContinueOnError)
	set.StringVar(&c.NodeName, "node-name", c.NodeName, "")
	set.StringArrayVar(&c.NodeLabels, "node-label", nil, "")
	set.StringSliceVar(&c.Disable, "disable", nil, "")
	set.BoolVar(&c.DisableAgent, "disable-agent", false, "")
	return set
}

func file(t *testing.T, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFileSetsWhatFlagsDoNot(t *testing.T) {
	c := server()
	set := flags(c)
	if err := set.Parse([]string{"--node-name=given"}); err != nil {
		t.Fatal(err)
	}
	path := file(t, `
role: server
node-name: from-file
node-label: [site=berlin-3, rack=7]
disable: servicelb
disable-agent: true
kubelet: {maxPods: 30}
registries:
  mirrors: {docker.io: ["https://mirror.example"]}
manifests: [{apiVersion: v1, kind: Namespace, metadata: {name: shop}}]
`)
	if err := ReadFile(path, true, set, c); err != nil {
		t.Fatal(err)
	}
	if c.NodeName != "given" {
		t.Errorf("the file won over the flag: %s", c.NodeName)
	}
	if diff := cmp.Diff([]string{"site=berlin-3", "rack=7"}, c.NodeLabels); diff != "" {
		t.Error(diff)
	}
	if !c.DisableAgent || !c.Disabled("servicelb") || c.Kubelet["maxPods"] != float64(30) && c.Kubelet["maxPods"] != int64(30) ||
		c.Registries.Mirrors["docker.io"][0] != "https://mirror.example" || c.Manifests[0]["kind"] != "Namespace" {
		t.Errorf("read %+v", c)
	}
}

func TestMistakesOfAFileAreNamed(t *testing.T) {
	for want, contents := range map[string]string{
		"nod-name: there is no such": "nod-name: a",
		"`skerry server --help`":     "traefik: true",
		"disable-agent":              "disable-agent: perhaps",
		"node-name: one value":       "node-name: [a, b]",
		"already set":                "node-name: a\nnode-name: b",
		"unknown field":              "registries: {mirors: {}}",
		"role":                       "role: agent",
	} {
		c := server()
		if err := ReadFile(file(t, contents), true, flags(c), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", contents, err)
		}
	}
}

func TestAMissingFileCountsOnlyIfItWasAskedFor(t *testing.T) {
	c := server()
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if err := ReadFile(missing, false, flags(c), c); err != nil {
		t.Error(err)
	}
	if ReadFile(missing, true, flags(c), c) == nil {
		t.Error("no error")
	}
}

func TestAFileNamesTheRole(t *testing.T) {
	for contents, want := range map[string]Role{"": Server, "role: server": Server, "role: agent\nserver: https://192.0.2.1:6443": Agent} {
		if role, err := ReadRole(file(t, contents)); err != nil || role != want {
			t.Errorf("%q: %v, %v", contents, role, err)
		}
	}
	if _, err := ReadRole(file(t, "role: worker")); err == nil {
		t.Error("there is no role worker")
	}
}
