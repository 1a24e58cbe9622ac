package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/template"

	"sigs.k8s.io/yaml"
)

// Where an image has what it starts for Pods. The stock node uses the same.
const (
	shimPath = "/usr/lib/skerry/containerd-shim-runc-v2"
	runcPath = "/usr/lib/skerry/runc"
	cniPath  = "/usr/lib/skerry/cni"
)

// containerdSettings are what a node's containerd needs, see containerd's
// docs/cri/config.md.
var containerdSettings = template.Must(template.New("").Parse(`version = 3
root = "{{.Data}}/containerd"
state = "{{.Run}}/containerd"

[grpc]
  address = "{{.Socket}}"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{.Image}}"

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{{.CNI}}"]
  conf_dir = "{{.Run}}/cni"
  use_internal_loopback = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "{{.Shim}}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
    BinaryName = "{{.Runc}}"
`))

// bridge is the least of a Pod network, and there at once. What kubeadm's users
// install for it comes as Pods.
const bridge = `{"cniVersion": "1.0.0", "name": "bench", "plugins": [{
	"type": "bridge", "bridge": "cni0", "isGateway": true,
	"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}
}]}
`

// prepareStockNode makes what prepareStock does, and what kubeadm makes for a
// node; it returns the programs of both. Everything is a process of its own:
// kubeadm has the kubelet start the control plane, and Pods for kube-proxy and
// the network, which takes longer. Those that would end or pause for long while
// the API server is not ready are started when it is; if they take the processors
// from it in a slow machine, it ends too, for its roles are late. The image of
// the Pod is there, too.
func prepareStockNode(paths []string, skerry, images string) func(context.Context, *plane) ([]program, error) {
	return func(ctx context.Context, p *plane) ([]program, error) {
		programs, err := prepareStock(paths)(ctx, p)
		if err != nil {
			return nil, err
		}
		pki := filepath.Join(p.data, "pki")
		for _, user := range []string{"kubelet", "kube-proxy"} {
			if err := writeStockKubeconfig(pki, user, filepath.Join(pki, user+".kubeconfig")); err != nil {
				return nil, err
			}
		}
		path := func(name string) string {
			return paths[slices.IndexFunc(paths, func(path string) bool { return filepath.Base(path) == name })]
		}
		containerd, err := p.prepareContainerd(ctx, path("containerd"), skerry, images)
		if err != nil {
			return nil, err
		}
		kubelet, err := yaml.Marshal(p.kubeletSettings(pki))
		if err != nil {
			return nil, err
		}
		settings := filepath.Join(p.run, "kubelet.yaml")
		if err := os.WriteFile(settings, kubelet, 0o600); err != nil {
			return nil, err
		}
		programs = append(programs, program{path: path("kubelet"), args: flags{
			"config": settings, "kubeconfig": filepath.Join(pki, "kubelet.kubeconfig"), "hostname-override": p.node, "node-ip": p.network.address,
			"root-dir": filepath.Join(p.data, "kubelet"), "cert-dir": filepath.Join(p.data, "kubelet", "pki"),
		}.args()}, program{path: path("kube-proxy"), args: flags{
			"kubeconfig": filepath.Join(pki, "kube-proxy.kubeconfig"), "hostname-override": p.node, "proxy-mode": "nftables", "cluster-cidr": podNetwork,
		}.args()})
		for i := range programs {
			if name := programs[i].name(); name != "etcd" && name != "kube-apiserver" {
				programs[i].after = func() bool { return p.answers.Load() && listens(p.containerdSocket()) }
			}
		}
		return append([]program{containerd}, programs...), nil
	}
}

// listens tells whether somebody does at a Unix socket.
func listens(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// kubeletSettings are a KubeletConfiguration with what kubeadm's has
// (cmd/kubeadm/app/componentconfigs/kubelet.go), but for static Pods, renewal of
// certificates, systemd as the driver of control groups, and the certificate,
// which kubelets else sign themselves, with RSA.
func (p *plane) kubeletSettings(pki string) object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": filepath.Join(pki, "ca.crt")},
		},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   filepath.Join(pki, "kubelet-server.crt"), "tlsPrivateKeyFile": filepath.Join(pki, "kubelet-server.key"),
		"clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local",
		"containerRuntimeEndpoint": "unix://" + p.containerdSocket(), "cgroupDriver": "cgroupfs",
		"volumePluginDir": filepath.Join(p.data, "kubelet", "volume-plugins"),
	}
}

func (p *plane) containerdSocket() string { return filepath.Join(p.run, "containerd.sock") }

// prepareContainerd writes containerd's settings and those of the network, and
// gives containerd the image if this is a first start.
func (p *plane) prepareContainerd(ctx context.Context, path, skerry, images string) (program, error) {
	containerd := program{path: path, args: []string{"--config", filepath.Join(p.run, "containerd.toml"), "--log-level", "warn"}}
	file, err := os.OpenFile(containerd.args[1], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return containerd, err
	}
	defer file.Close()
	if err := containerdSettings.Execute(file, map[string]string{
		"Data": p.data, "Run": p.run, "Socket": p.containerdSocket(), "Image": podImage, "CNI": cniPath, "Shim": shimPath, "Runc": runcPath,
	}); err != nil {
		return containerd, err
	}
	network := filepath.Join(p.run, "cni", "bench.conflist")
	if err := os.MkdirAll(filepath.Dir(network), 0o700); err != nil {
		return containerd, err
	}
	if err := os.WriteFile(network, fmt.Appendf(nil, bridge, filepath.Join(p.data, "cni")), 0o600); err != nil {
		return containerd, err
	}
	if _, err := os.Stat(filepath.Join(p.data, "containerd")); err == nil {
		return containerd, nil
	}
	return containerd, p.importImages(ctx, containerd, skerry, images)
}

// importImages runs containerd for a while.
func (p *plane) importImages(ctx context.Context, containerd program, skerry, images string) (err error) {
	s, err := supervise(p.network, p.run, []program{containerd})
	if err != nil {
		return err
	}
	defer func() {
		if failed := s.stop(); err == nil {
			err = failed
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, startDeadline, errors.New("containerd hangs"))
	defer cancel()
	if err := eventually(ctx, func() error {
		if !listens(p.containerdSocket()) {
			return errors.New("containerd does not listen")
		}
		return nil
	}); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, skerry, "ctr", "--address", p.containerdSocket(), "images", "import", images).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w\n%s", images, err, out)
	}
	return nil
}
