// Package config describes what a cluster server or agent is told: by flags,
// by /etc/skerry/config.yaml, or by the node agent of an image. One struct
// serves all three. Names follow k3s where the meaning is the same.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-os/skerry/distribution/place"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Role is what a machine is for in the cluster.
type Role string

const (
	Server Role = "server" // control plane, and node unless DisableAgent
	Agent  Role = "agent"  // node
)

// Where things are unless a flag says otherwise.
const (
	File       = "/etc/skerry/config.yaml"
	Kubeconfig = "/etc/skerry/kubeconfig.yaml"
	dataDir    = "/var/lib/skerry"
	runDir     = "/run/skerry"
	libDir     = "/usr/lib/skerry" // of images
)

// Port is where servers listen: API and join.
const Port = 6443

// Ports of servers and nodes beside it.
const (
	PeerPort     = 2380 // etcd of other servers
	BalancerPort = 6444 // of this machine only: leads to the servers
	// StreamPort is where containerd has the kubelet, and nobody else, exchange
	// what exec, attach and port-forward do. Of this machine only.
	StreamPort = 10010
)

// mostSnapshots are kept of those that are taken automatically.
const mostSnapshots = 1000

// Config is the settings of a server or an agent.
type Config struct {
	Role    Role   `json:"role"`
	DataDir string `json:"dataDir"`
	RunDir  string `json:"runDir"` // in memory, empty after a boot
	LibDir  string `json:"libDir"` // runc, shim, CNI plugins, images

	Server    string `json:"server,omitempty"` // URL of a server to join
	Token     string `json:"token,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`

	NodeName   string   `json:"nodeName"`
	NodeIP     string   `json:"nodeIP,omitempty"` // empty: the address of the default route
	NodeLabels []string `json:"nodeLabels,omitempty"`
	NodeTaints []string `json:"nodeTaints,omitempty"`
	// Kubelet has fields of KubeletConfiguration that replace the node's own.
	Kubelet map[string]any `json:"kubelet,omitempty"`
	// Registries are mirrors and credentials, as in the node config.
	Registries Registries `json:"registries"`

	// Of servers.
	Datastore   string `json:"datastore"`             // empty: sqlite, or etcd where there are several servers
	ClusterInit bool   `json:"clusterInit,omitempty"` // others will join
	// A snapshot of the datastore is taken every SnapshotInterval, none if it is
	// 0, and SnapshotKeep of them are kept.
	SnapshotInterval time.Duration `json:"snapshotInterval"`
	SnapshotKeep     int           `json:"snapshotKeep"`
	// RestoreDamaged has the latest snapshot take the place of a SQLite database
	// that is found damaged at a start.
	RestoreDamaged bool `json:"restoreDamaged,omitempty"`

	DisableAgent    bool     `json:"disableAgent,omitempty"`
	Disable         []string `json:"disable,omitempty"`
	TLSSAN          []string `json:"tlsSAN,omitempty"`
	ClusterCIDR     string   `json:"clusterCIDR"`
	ServiceCIDR     string   `json:"serviceCIDR"`
	ClusterDNS      string   `json:"clusterDNS,omitempty"` // empty: the tenth address of ServiceCIDR
	ClusterDomain   string   `json:"clusterDomain"`
	FlannelBackend  string   `json:"flannelBackend"`
	WriteKubeconfig string   `json:"writeKubeconfig"`
	// AccessKeys are of persons who may have all rights: "ed25519:…  name".
	AccessKeys []string `json:"accessKeys,omitempty"`
	// Manifests are objects applied beside those in the manifests folder.
	Manifests []map[string]any `json:"manifests,omitempty"`
}

// Registries says where container images come from.
type Registries struct {
	Mirrors     map[string][]string    `json:"mirrors,omitempty"`
	Credentials map[string]Credentials `json:"credentials,omitempty"`
}

// Credentials log in to a registry.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// Batteries are what a server brings along and --disable switches off.
var Batteries = []string{"coredns", "local-storage", "metrics-server", "network-policy", "servicelb"}

// Backends are the ways packets take between nodes.
var Backends = []string{"vxlan", "host-gw", "wireguard-native", "none"}

// Defaults returns the settings of a machine that is told nothing.
func Defaults(role Role) *Config {
	name, _ := os.Hostname()
	return &Config{
		Role: role, DataDir: dataDir, RunDir: runDir, LibDir: findLibDir(),
		NodeName:    strings.ToLower(name),
		ClusterCIDR: "10.42.0.0/16", ServiceCIDR: "10.43.0.0/16", ClusterDomain: "cluster.local",
		FlannelBackend: "vxlan", WriteKubeconfig: Kubeconfig,
		SnapshotInterval: 12 * time.Hour, SnapshotKeep: 5,
	}
}

// findLibDir is the folder that this program was installed with, or that of an
// image.
func findLibDir() string {
	if program, err := os.Executable(); err == nil {
		if dir := place.LibDir(program); dir != "" {
			return dir
		}
	}
	return libDir
}

// Complete checks the settings and fills in what follows from others. It
// returns all that is wrong at once.
func (c *Config) Complete() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if msgs := validation.IsDNS1123Subdomain(c.NodeName); len(msgs) > 0 {
		wrong("--node-name %q: %s", c.NodeName, strings.Join(msgs, "; "))
	}
	if c.NodeIP != "" && net.ParseIP(c.NodeIP) == nil {
		wrong("--node-ip %q: an address belongs here", c.NodeIP)
	}
	for _, dir := range []struct{ flag, path string }{{"data-dir", c.DataDir}, {"run-dir", c.RunDir}, {"lib-dir", c.LibDir}} {
		if !filepath.IsAbs(dir.path) {
			wrong("--%s %q: an absolute path belongs here", dir.flag, dir.path)
		}
	}
	for _, label := range c.NodeLabels {
		key, value, _ := strings.Cut(label, "=")
		if err := nodeconfig.CheckLabel(key, value); err != nil {
			wrong("--node-label %s: %w", label, err)
		}
	}
	for _, taint := range c.NodeTaints {
		if err := nodeconfig.CheckTaint(taint); err != nil {
			wrong("--node-taint: %w", err)
		}
	}
	if err := checkKubelet(c.Kubelet); err != nil {
		wrong("kubelet: %w", err)
	}
	if c.Token != "" && c.TokenFile != "" {
		wrong("--token and --token-file: keep one of the two")
	}
	if c.Role == Agent && c.Server == "" {
		wrong("--server: an agent needs the address of a server, as in https://192.0.2.10:%d", Port)
	}
	if c.Server != "" {
		if u, err := url.Parse(c.Server); err != nil || u.Scheme != "https" || u.Hostname() == "" {
			wrong("--server %q: https://, the address of a server and its port belong here", c.Server)
		}
	}
	if c.Role == Server {
		errs = append(errs, c.completeServer()...)
	}
	return errors.Join(errs...)
}

func (c *Config) completeServer() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.ClusterInit && c.Server != "" {
		wrong("--cluster-init and --server: the first server has one, those that join it the other")
	}
	several := c.ClusterInit || c.Server != ""
	switch {
	case c.Datastore == "" && several:
		c.Datastore = nodeconfig.DatastoreEtcd
	case c.Datastore == "":
		c.Datastore = nodeconfig.DatastoreSQLite
	case c.Datastore != nodeconfig.DatastoreSQLite && c.Datastore != nodeconfig.DatastoreEtcd:
		wrong("--datastore %q: there are %s and %s", withoutUser(c.Datastore), nodeconfig.DatastoreSQLite, nodeconfig.DatastoreEtcd)
	case c.Datastore == nodeconfig.DatastoreSQLite && several:
		wrong("--datastore %s is for a single server: --cluster-init and --server need %s", c.Datastore, nodeconfig.DatastoreEtcd)
	}
	if c.RestoreDamaged && c.Several() {
		wrong("--restore-damaged is for a single server: of several the others have the state")
	}
	if c.SnapshotInterval != 0 && c.SnapshotInterval < time.Minute {
		wrong("--snapshot-interval %s: at least a minute, or 0 for none, belongs here", c.SnapshotInterval)
	}
	if c.SnapshotKeep < 1 || c.SnapshotKeep > mostSnapshots {
		wrong("--snapshot-keep %d: 1 to %d belong here", c.SnapshotKeep, mostSnapshots)
	}
	for _, name := range c.Disable {
		if !slices.Contains(Batteries, name) {
			wrong("--disable %q: there are %s", name, strings.Join(Batteries, ", "))
		}
	}
	for _, key := range c.AccessKeys {
		if err := new(nodeconfig.AccessKey).UnmarshalText([]byte(key)); err != nil {
			wrong("--access-key %q: %v", key, err)
		}
	}
	if !slices.Contains(Backends, c.FlannelBackend) {
		wrong("--flannel-backend %q: there are %s", c.FlannelBackend, strings.Join(Backends, ", "))
	}
	pods, err := netip.ParsePrefix(c.ClusterCIDR)
	if err != nil || pods.Masked() != pods || !pods.Addr().Is4() || pods.Bits() > 24 {
		wrong("--cluster-cidr %q: an IPv4 network of at most 24 bits belongs here, as in 10.42.0.0/16", c.ClusterCIDR)
	}
	services, err := netip.ParsePrefix(c.ServiceCIDR)
	if err != nil || services.Masked() != services || !services.Addr().Is4() || services.Bits() < 12 || services.Bits() > 24 {
		wrong("--service-cidr %q: an IPv4 network of 12 to 24 bits belongs here, as in 10.43.0.0/16", c.ServiceCIDR)
		return errs
	}
	if pods.IsValid() && pods.Overlaps(services) {
		wrong("--service-cidr %s overlaps --cluster-cidr %s", c.ServiceCIDR, c.ClusterCIDR)
	}
	if c.ClusterDNS == "" {
		c.ClusterDNS = nth(services, 10).String()
	} else if dns, err := netip.ParseAddr(c.ClusterDNS); err != nil || !services.Contains(dns) {
		wrong("--cluster-dns %q: an address of --service-cidr %s belongs here", c.ClusterDNS, c.ServiceCIDR)
	}
	return errs
}

// Several tells whether there can be several servers: each has its own part of
// the datastore then.
func (c *Config) Several() bool { return c.Datastore == nodeconfig.DatastoreEtcd }

// withoutUser is a datastore's name, which may be a URL with a password.
func withoutUser(datastore string) string {
	if scheme, _, ok := strings.Cut(datastore, "://"); ok {
		return scheme + "://…"
	}
	return datastore
}

// APIService is the address of the Service kubernetes.
func (c *Config) APIService() string {
	services, err := netip.ParsePrefix(c.ServiceCIDR)
	if err != nil {
		return ""
	}
	return nth(services, 1).String()
}

func nth(prefix netip.Prefix, n int) netip.Addr {
	addr := prefix.Masked().Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}

// Disabled tells whether a battery is switched off.
func (c *Config) Disabled(battery string) bool { return slices.Contains(c.Disable, battery) }

// ServerDir is where a server keeps its state.
func (c *Config) ServerDir(elem ...string) string {
	return filepath.Join(append([]string{c.DataDir, "server"}, elem...)...)
}

// JoinTokenFile is where a server keeps the token of a role.
func (c *Config) JoinTokenFile(role string) string { return c.ServerDir("tokens", role) }

// AgentDir is where a node keeps its state.
func (c *Config) AgentDir(elem ...string) string {
	return filepath.Join(append([]string{c.DataDir, "agent"}, elem...)...)
}

// RunFile is a path in the folder that a boot empties.
func (c *Config) RunFile(elem ...string) string {
	return filepath.Join(append([]string{c.RunDir}, elem...)...)
}

// Lib is a path among the programs and images that came with this one.
func (c *Config) Lib(elem ...string) string {
	return filepath.Join(append([]string{c.LibDir}, elem...)...)
}

// TokenValue is the token that was given, out of its file if need be.
func (c *Config) TokenValue() (string, error) {
	if c.TokenFile == "" {
		return c.Token, nil
	}
	contents, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(contents)), nil
}
