//go:build rootful

package node

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skerry-os/skerry/imageseed"

	_ "github.com/containerd/containerd/v2/plugins/nri"
	_ "github.com/containerd/containerd/v2/plugins/services/opt"
	_ "github.com/skerry-os/skerry/cluster/container/plugins"
	"github.com/skerry-os/skerry/subprocess"
)

// The program of this test is containerd and ctr too, under these names.
const seedVariable = "SKERRY_TEST_SEED"

func TestMain(m *testing.M) {
	var err error
	switch name := filepath.Base(os.Args[0]); {
	case name == "containerd":
		RegisterContent(os.Getenv(seedVariable))
		err = command.App().Run(context.Background(), os.Args)
	case name == "ctr":
		err = app.New().Run(context.Background(), os.Args)
	case os.Getpid() != 1:
		err = apart()
	default:
		if err = syscall.Mount("proc", "/proc", "proc", 0, ""); err == nil {
			code := m.Run()
			if bin, err := programs(); err == nil {
				os.RemoveAll(bin)
			}
			os.Exit(code)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apart runs the tests in namespaces of their own: what they mount is not seen
// outside, and what they start ends with them.
func apart() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // and makes all mounts private
	}
	return subprocess.Run(cmd)
}

// daemon is a containerd of its own.
type daemon struct {
	t       *testing.T
	dir     string
	bin     string
	command *exec.Cmd
	client  *containerd.Client
}

// newDaemon prepares folders on a tmpfs: where the test's own folders are on an
// overlay, no overlay can be made in them.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir()}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var err error
	if d.bin, err = programs(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", d.bin+":"+os.Getenv("PATH"))
	return d
}

// programs makes a folder with containerd, ctr, and what containerd starts.
var programs = sync.OnceValues(func() (string, error) {
	bin, err := os.MkdirTemp("", "skerry-node-")
	if err != nil {
		return "", err
	}
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	for _, name := range []string{"containerd", "ctr"} {
		if err := os.Symlink(own, filepath.Join(bin, name)); err != nil {
			return "", err
		}
	}
	for _, p := range []struct{ name, cgo, tags, source string }{
		{"containerd-shim-runc-v2", "0", "no_grpc", "github.com/skerry-os/skerry/cmd/containerd-shim-runc-v2"},
		{"runc", "1", "runc_nocriu,urfave_cli_no_docs", "github.com/opencontainers/runc"},
		{"pause", "0", "", "github.com/skerry-os/skerry/images/pause"},
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-tags="+p.tags, "-o", filepath.Join(bin, p.name), p.source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+p.cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("compile %s: %w\n%s", p.name, err, out)
		}
	}
	return bin, nil
})

func (d *daemon) path(elements ...string) string {
	return filepath.Join(append([]string{d.dir}, elements...)...)
}

func (d *daemon) socket() string { return d.path("run", "containerd.sock") }

// start starts containerd with a seed.
func (d *daemon) start(seed string) {
	d.t.Helper()
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
[grpc]
  address = %q
[plugins.'io.containerd.server.v1.grpc']
  address = %q
[plugins.'io.containerd.server.v1.ttrpc']
  address = %q
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "skerry.dev/pause:v1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  use_internal_loopback = true
`, d.path("root"), d.path("state"), d.socket(), d.socket(), d.socket()+".ttrpc")
	if err := os.WriteFile(d.path("config.toml"), []byte(config), 0o600); err != nil {
		d.t.Fatal(err)
	}
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.command = exec.Command(filepath.Join(d.bin, "containerd"), "--config", d.path("config.toml"))
	d.command.Env = append(os.Environ(), seedVariable+"="+seed)
	d.command.Stdout, d.command.Stderr = log, log
	if err := d.command.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(d.kill)
	if d.client, err = containerd.New(d.socket(), containerd.WithTimeout(time.Minute)); err != nil {
		d.fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for {
		serving, err := d.client.IsServing(ctx)
		if err == nil && serving {
			return
		}
		if ctx.Err() != nil {
			d.fatal(fmt.Errorf("containerd does not answer: %w", err))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fatal ends the test with what containerd said.
func (d *daemon) fatal(err error) {
	d.t.Helper()
	log, _ := os.ReadFile(d.path("log"))
	d.t.Fatalf("%v\n%s", err, log)
}

// kill ends containerd as a power cut does.
func (d *daemon) kill() {
	if d.command == nil {
		return
	}
	if d.client != nil {
		d.client.Close()
	}
	d.command.Process.Kill()
	d.command.Wait()
	d.command = nil
}

// ctr runs containerd's own client.
func (d *daemon) ctr(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(d.bin, "ctr"), append([]string{"--address", d.socket(), "-n", namespace}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		d.fatal(fmt.Errorf("ctr %v: %w\n%s", args, err, stderr.Bytes()))
	}
	return string(out)
}

// export writes an archive of an image. With --local: without it ctr ends when
// the daemon has sent everything, which is before the file has all of it.
func (d *daemon) export(archive, name string) {
	d.t.Helper()
	d.ctr("images", "export", "--local", archive, name)
}

func (d *daemon) apply(seed string) Changes {
	d.t.Helper()
	changes, err := Apply(d.t.Context(), d.client, d.open(seed))
	if err != nil {
		d.fatal(err)
	}
	return changes
}

func (d *daemon) open(seed string) *imageseed.Seed {
	d.t.Helper()
	opened, err := imageseed.Open(seed)
	if err != nil {
		d.t.Fatal(err)
	}
	return opened
}

// check has ctr walk from so many records to their last blob and snapshot.
func (d *daemon) check(records int) {
	d.t.Helper()
	got := d.ctr("images", "check")
	if strings.Count(got, " complete (2/2) ") != records || strings.Count(got, " true") != records {
		d.t.Errorf("of %d records, ctr says\n%s", records, got)
	}
}

func (d *daemon) waitFor(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.fatal(fmt.Errorf("no sign of %s", what))
		}
	}
}

// bytesOf adds up the files below a folder. Links are not followed.
func bytesOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// images is the CRI plugin's service for images.
func (d *daemon) images() cri.ImageServiceClient { return cri.NewImageServiceClient(d.connection()) }

func (d *daemon) connection() *grpc.ClientConn {
	d.t.Helper()
	conn, err := grpc.NewClient("unix://"+d.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	return conn
}

// container makes a container of an image in a pod without a network, as the
// kubelet does.
func (d *daemon) container(image, name string) error {
	service := cri.NewRuntimeServiceClient(d.connection())
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
		LogDirectory: d.path("log-of-pod"),
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
	sandbox, err := service.RunPodSandbox(d.t.Context(), &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return err
	}
	made, err := service.CreateContainer(d.t.Context(), &cri.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, SandboxConfig: pod,
		Config: &cri.ContainerConfig{Metadata: &cri.ContainerMetadata{Name: "one"}, Image: &cri.ImageSpec{Image: image}, LogPath: "one.log",
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}}}},
	})
	if err != nil {
		return err
	}
	if _, err := service.StartContainer(d.t.Context(), &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return err
	}
	_, err = service.RemovePodSandbox(d.t.Context(), &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
	return err
}

// collect makes containerd collect garbage.
func (d *daemon) collect() {
	d.t.Helper()
	ctx := namespaces.WithNamespace(d.t.Context(), namespace)
	service := d.client.LeasesService()
	lease, err := service.Create(ctx, leases.WithRandomID())
	if err != nil {
		d.fatal(err)
	}
	if err := service.Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		d.fatal(err)
	}
}

// runs runs a container of an image, and removes it.
func (d *daemon) runs(image string) {
	d.t.Helper()
	d.ctr("run", "--detach", image, "one")
	d.waitFor("the container", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "RUNNING") })
	d.ctr("tasks", "rm", "-f", "one")
}

// links are those that stand for snapshots, of which there have to be so many.
func (d *daemon) links(want int) []string {
	d.t.Helper()
	links, err := filepath.Glob(d.path("root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*", "fs"))
	if err != nil || len(links) != want {
		d.t.Fatalf("got %v, %v", links, err)
	}
	return links
}
