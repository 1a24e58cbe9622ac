// Package container runs containerd in this process, with the plugins that a
// node needs and settings of our own.
package container

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"

	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/imageseed/node"

	_ "github.com/skerry-os/skerry/cluster/container/plugins"
)

// Pause is the image of the container that holds a Pod's namespaces.
const Pause = "skerry.dev/pause:v1"

// ShimCgroup is the control group of the shims. They outlive containerd, so
// they must not be in the group that ends with it.
const ShimCgroup = "/skerry-shims"

const cgroupRoot = "/sys/fs/cgroup"

// Who makes the control groups of Pods (Kubernetes, "Container runtimes", cgroup
// drivers).
const (
	systemdDriver  = "systemd"
	cgroupfsDriver = "cgroupfs"
)

// CgroupDriver is systemd where that is the first process, which wants to be the
// only one to make control groups (sd_booted(3)). On an image nobody else does.
func CgroupDriver() string {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return systemdDriver
	}
	return cgroupfsDriver
}

// Socket is where containerd listens.
func Socket(c *config.Config) string { return c.RunFile("containerd", "containerd.sock") }

// CNIConfigDir is where the node writes how Pods get their network.
func CNIConfigDir(c *config.Config) string { return c.RunFile("cni") }

// settings is containerd's configuration, version 3. State that a reboot must
// not keep is in the run folder, as containerd asks.
var settings = template.Must(template.New("config.toml").Parse(`version = 3
root = {{printf "%q" .Root}}
state = {{printf "%q" .State}}
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
  address = {{printf "%q" .Socket}}

[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "{{.StreamPort}}"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  discard_unpacked_layers = true
  image_pull_with_sync_fs = true
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = {{printf "%q" .Pause}}
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = {{printf "%q" .Registries}}

[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [{{printf "%q" .CNIPlugins}}]
    conf_dir = {{printf "%q" .CNIConfig}}
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = {{printf "%q" .Shim}}
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = {{printf "%q" .Runc}}
        SystemdCgroup = {{.SystemdCgroup}}
        ShimCgroup = {{printf "%q" .ShimCgroup}}
`))

// Run runs containerd until ctx ends or it fails. Containers go on without it.
func Run(ctx context.Context, c *config.Config) error {
	if err := os.MkdirAll(filepath.Join(cgroupRoot, ShimCgroup), 0o755); err != nil {
		return fmt.Errorf("control group of the shims: %w", err)
	}
	if err := writeRegistries(c); err != nil {
		return err
	}
	images, err := imagesDir(c)
	if err != nil {
		return err
	}
	node.RegisterContent(images)
	path := c.RunFile("containerd.toml")
	var text bytes.Buffer
	err = settings.Execute(&text, map[string]any{
		"Root": c.AgentDir("containerd"), "State": c.RunFile("containerd"), "Socket": Socket(c),
		"Pause": Pause, "Registries": registriesDir(c), "ShimCgroup": ShimCgroup,
		"CNIPlugins": c.Lib("cni"), "CNIConfig": CNIConfigDir(c),
		"Shim": c.Lib("containerd-shim-runc-v2"), "Runc": c.Lib("runc"),
		"SystemdCgroup": CgroupDriver() == systemdDriver, "StreamPort": config.StreamPort,
	})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, text.Bytes(), 0o600); err != nil {
		return err
	}
	if err := command.App().Run(ctx, []string{"containerd", "--config", path, "--log-level", "warn"}); err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	return nil
}

// Ask waits for an answer of this machine's containerd, whatever it is.
func Ask(ctx context.Context, c *config.Config) error {
	// The client of gRPC does not say why it cannot connect.
	probe, err := new(net.Dialer).DialContext(ctx, "unix", Socket(c))
	if err != nil {
		return err
	}
	probe.Close()
	connection, err := grpc.NewClient("unix://"+Socket(c), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	}
	return nil
}
