package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
)

// stockPrograms are the components as programs of their own: what they are
// compiled to, their packages, and build tags.
var stockPrograms = []struct{ name, source, tags string }{
	{"etcd", "go.etcd.io/etcd/server/v3", ""},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", ""},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", ""},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", ""},
	// These are a node.
	{"kubelet", "k8s.io/kubernetes/cmd/kubelet", ""},
	{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", ""},
	// ZFS and traces need modules that nothing else here does.
	{"containerd", "github.com/containerd/containerd/v2/cmd/containerd", "no_zfs,no_tracing"},
}

// controlPrograms is how many of stockPrograms are a control plane.
const controlPrograms = 4

// clusterPrograms are what is compared.
type clusterPrograms struct {
	skerry           string   // path
	stock            []string // paths, as in stockPrograms
	kubernetes, etcd string   // versions
}

// buildClusterPrograms compiles both sides out of the same modules, as images
// have their programs: stripped, without cgo. The version goes into the stock
// ones as into those that Kubernetes releases.
func (s *session) buildClusterPrograms(ctx context.Context) (c clusterPrograms, err error) {
	versions, err := s.command(ctx, s.source, nil, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes", "go.etcd.io/etcd/server/v3")
	if err != nil {
		return c, err
	}
	if _, err := fmt.Sscan(versions.stdout, &c.kubernetes, &c.etcd); err != nil {
		return c, fmt.Errorf("go list: %w", err)
	}
	for _, p := range stockPrograms {
		path, err := s.compileOnce(ctx, p.name, p.source, "-tags="+p.tags, "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion="+c.kubernetes)
		if err != nil {
			return c, err
		}
		c.stock = append(c.stock, path)
	}
	c.skerry, err = s.buildSkerry(ctx)
	return c, err
}

// buildSkerry compiles the single binary.
func (s *session) buildSkerry(ctx context.Context) (string, error) {
	return s.compileOnce(ctx, "skerry", "./cmd/skerry", stripped)
}

// compileOnce makes a program that several parts use, and returns its path.
func (s *session) compileOnce(ctx context.Context, name, source string, flags ...string) (string, error) {
	path := filepath.Join(s.work, "cluster", name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	s.logf("compile %s", name)
	return path, s.compile(ctx, path, source, flags...)
}

// compile makes a program of a package, as images have theirs: without cgo.
func (s *session) compile(ctx context.Context, to, source string, flags ...string) error {
	_, err := s.command(ctx, s.source, []string{"CGO_ENABLED=0"}, "go", slices.Concat([]string{"build", "-trimpath"}, flags, []string{"-o", to, source})...)
	return err
}

// fileBytes is the size of files, together.
func fileBytes(paths ...string) (sum int64, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}

// flags are a program's settings: names without dashes, and values.
type flags map[string]string

func (f flags) args() []string {
	args := make([]string, 0, len(f))
	for name, value := range f {
		args = append(args, "--"+name+"="+value)
	}
	return args
}

const (
	apiServerAddress = "127.0.0.1:6443"
	apiServerURL     = "https://" + apiServerAddress
	etcdURL          = "https://127.0.0.1:2379"
	etcdPeerURL      = "https://127.0.0.1:2380"
	serviceNetwork   = "10.96.0.0/12"
	podNetwork       = "10.244.0.0/16"
	frontProxyUser   = "front-proxy-client"
	clusterIssuer    = "https://kubernetes.default.svc.cluster.local"
	kubernetesHosts  = "kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost 127.0.0.1 10.96.0.1"
)

// prepareStock makes what kubeadm makes before it starts a control plane, and
// returns the control plane's programs with the flags that kubeadm gives them
// (cmd/kubeadm/app/phases: controlplane/manifests.go, etcd/local.go). Keys are
// on P-256 like those of the other side, though kubeadm's own choice is RSA,
// which takes longer.
func prepareStock(paths []string) func(context.Context, *plane) ([]program, error) {
	return func(_ context.Context, p *plane) ([]program, error) {
		dir := filepath.Join(p.data, "pki")
		if err := makeStockCertificates(dir, p.network.address, time.Now()); err != nil {
			return nil, err
		}
		for user, path := range map[string]string{
			"admin": p.kubeconfig(), "controller-manager": filepath.Join(dir, "controller-manager.kubeconfig"), "scheduler": filepath.Join(dir, "scheduler.kubeconfig"),
		} {
			if err := writeStockKubeconfig(dir, user, path); err != nil {
				return nil, err
			}
		}
		all := stockFlags(dir, filepath.Join(p.data, "etcd"), p.network.address)
		programs := make([]program, controlPrograms)
		for i := range programs {
			programs[i] = program{path: paths[i], args: all[i].args()}
		}
		return programs, nil
	}
}

func makeStockCertificates(dir, address string, now time.Time) error {
	authorities := map[string]*pki.Authority{}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		authority, err := pki.LoadOrMakeAuthority(dir, name, now)
		if err != nil {
			return err
		}
		authorities[name] = authority
	}
	hosts := strings.Fields(kubernetesHosts)
	if address != "" {
		hosts = append(hosts, address)
	}
	for _, leaf := range []struct {
		authority, name string
		subject         pki.Subject
	}{
		{"ca", "apiserver", pki.Subject{Name: "kube-apiserver", Hosts: hosts}},
		{"ca", "apiserver-kubelet-client", pki.Subject{Name: "kube-apiserver-kubelet-client", Groups: []string{"kubeadm:cluster-admins"}}},
		{"ca", "admin", pki.Subject{Name: "kubernetes-admin", Groups: []string{"system:masters"}}},
		{"ca", "controller-manager", pki.Subject{Name: "system:kube-controller-manager"}},
		{"ca", "scheduler", pki.Subject{Name: "system:kube-scheduler"}},
		{"ca", "kubelet", pki.Subject{Name: "system:node:" + benchNode, Groups: []string{"system:nodes"}}},
		{"ca", "kubelet-server", pki.Subject{Name: benchNode, Hosts: []string{benchNode}}},
		{"ca", "kube-proxy", pki.Subject{Name: "system:kube-proxy"}},
		{"front-proxy-ca", "front-proxy-client", pki.Subject{Name: frontProxyUser}},
		{"etcd-ca", "etcd-server", pki.Subject{Name: "etcd", Hosts: []string{"localhost", "127.0.0.1"}}},
		{"etcd-ca", "etcd-peer", pki.Subject{Name: "etcd", Hosts: []string{"localhost", "127.0.0.1"}}},
		{"etcd-ca", "etcd-client", pki.Subject{Name: "kube-apiserver-etcd-client"}},
	} {
		if err := authorities[leaf.authority].Issue(dir, leaf.name, leaf.subject, now); err != nil {
			return err
		}
	}
	_, err := pki.LoadOrMakeKey(filepath.Join(dir, "sa.key"))
	return err
}

func writeStockKubeconfig(dir, user, path string) error {
	var parts [3][]byte
	for i, name := range []string{"ca.crt", user + ".crt", user + ".key"} {
		contents, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		parts[i] = contents
	}
	return newKubeconfig(apiServerURL, parts[0], parts[1], parts[2]).write(path)
}

// stockFlags are those of etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, with certificates in dir and etcd's database in database.
func stockFlags(dir, database, address string) [controlPrograms]flags {
	file := func(name string) string { return filepath.Join(dir, name) }
	etcd := flags{
		"name": "bench", "data-dir": database,
		"listen-client-urls": etcdURL, "advertise-client-urls": etcdURL,
		"listen-peer-urls": etcdPeerURL, "initial-advertise-peer-urls": etcdPeerURL, "initial-cluster": "bench=" + etcdPeerURL,
		"cert-file": file("etcd-server.crt"), "key-file": file("etcd-server.key"),
		"trusted-ca-file": file("etcd-ca.crt"), "client-cert-auth": "true",
		"peer-cert-file": file("etcd-peer.crt"), "peer-key-file": file("etcd-peer.key"),
		"peer-trusted-ca-file": file("etcd-ca.crt"), "peer-client-cert-auth": "true",
		// kubeadm's certificates are for servers and clients at once.
		"client-cert-file": file("etcd-client.crt"), "client-key-file": file("etcd-client.key"),
		"snapshot-count": "10000", "listen-metrics-urls": "http://127.0.0.1:2381",
		"feature-gates": "InitialCorruptCheck=true", "watch-progress-notify-interval": "5s",
	}
	apiserver := flags{
		"enable-admission-plugins":           "NodeRestriction",
		"authorization-mode":                 "Node,RBAC",
		"service-cluster-ip-range":           serviceNetwork,
		"service-account-key-file":           file("sa.key"),
		"service-account-signing-key-file":   file("sa.key"),
		"service-account-issuer":             clusterIssuer,
		"client-ca-file":                     file("ca.crt"),
		"tls-cert-file":                      file("apiserver.crt"),
		"tls-private-key-file":               file("apiserver.key"),
		"kubelet-client-certificate":         file("apiserver-kubelet-client.crt"),
		"kubelet-client-key":                 file("apiserver-kubelet-client.key"),
		"enable-bootstrap-token-auth":        "true",
		"secure-port":                        "6443",
		"allow-privileged":                   "true",
		"kubelet-preferred-address-types":    "InternalIP,ExternalIP,Hostname",
		"requestheader-username-headers":     "X-Remote-User",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-client-ca-file":       file("front-proxy-ca.crt"),
		"requestheader-allowed-names":        frontProxyUser,
		"proxy-client-cert-file":             file("front-proxy-client.crt"),
		"proxy-client-key-file":              file("front-proxy-client.key"),
		"etcd-servers":                       etcdURL,
		"etcd-cafile":                        file("etcd-ca.crt"),
		"etcd-certfile":                      file("etcd-client.crt"),
		"etcd-keyfile":                       file("etcd-client.key"),
	}
	if address != "" {
		apiserver["advertise-address"] = address
	}
	component := func(name string, more flags) flags {
		kubeconfig := file(name + ".kubeconfig")
		f := flags{
			"kubeconfig": kubeconfig, "authentication-kubeconfig": kubeconfig, "authorization-kubeconfig": kubeconfig,
			"bind-address": "127.0.0.1", "leader-elect": "true",
		}
		for name, value := range more {
			f[name] = value
		}
		return f
	}
	controllers := component("controller-manager", flags{
		"client-ca-file":                   file("ca.crt"),
		"requestheader-client-ca-file":     file("front-proxy-ca.crt"),
		"root-ca-file":                     file("ca.crt"),
		"service-account-private-key-file": file("sa.key"),
		"cluster-signing-cert-file":        file("ca.crt"),
		"cluster-signing-key-file":         file("ca.key"),
		"use-service-account-credentials":  "true",
		"controllers":                      "*,bootstrapsigner,tokencleaner",
		"allocate-node-cidrs":              "true",
		"cluster-cidr":                     podNetwork,
		"service-cluster-ip-range":         serviceNetwork,
		"cluster-name":                     "kubernetes",
	})
	return [controlPrograms]flags{etcd, apiserver, controllers, component("scheduler", nil)}
}
