//go:build rootful

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skerry-os/skerry/builder/containerimage"
	"github.com/skerry-os/skerry/builder/containerimage/layouttest"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/imageseed"

	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/cri"
	_ "github.com/containerd/containerd/v2/plugins/cri/images"
	_ "github.com/containerd/containerd/v2/plugins/cri/runtime"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/nri"
	_ "github.com/containerd/containerd/v2/plugins/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/server/grpc"
	_ "github.com/containerd/containerd/v2/plugins/server/ttrpc"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/healthcheck"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/mounts"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/opt"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/streaming"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/transfer"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/streaming"
	_ "github.com/containerd/containerd/v2/plugins/transfer"
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
		Pdeathsig:    syscall.SIGKILL,
	}
	return cmd.Run()
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

func TestASeededImageRunsWithoutBeingCopied(t *testing.T) {
	d := newDaemon(t)
	dir := d.path("seed")
	const name = "skerry.dev/pause:v1"
	seed := seedOf(t, dir, map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(dir)
	if got := d.apply(dir); !slices.Equal(got.Added, []string{name}) || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	d.check(2)
	if list := d.ctr("images", "ls"); !strings.Contains(list, "io.cri-containerd.pinned=pinned") {
		t.Errorf("ctr images ls says\n%s", list)
	}
	exported := d.path("exported.tar")
	d.ctr("images", "export", exported, name)
	if out, err := exec.Command("sh", "-c", "tar -xOf "+exported+" blobs/sha256/"+seed.Images()[0].Layer.Digest.Encoded()+" | sha256sum").Output(); err != nil ||
		!strings.HasPrefix(string(out), seed.Images()[0].Layer.Digest.Encoded()) {
		t.Errorf("the exported layer is %s, %v", out, err)
	}
	d.ctr("run", "--detach", "--snapshotter", "overlayfs", name, "one")
	d.waitFor("the container", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "RUNNING") })
	d.ctr("tasks", "kill", "-s", "SIGTERM", "one")
	d.waitFor("its end", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "STOPPED") })
	d.ctr("tasks", "rm", "one")
	d.ctr("containers", "rm", "one")
	// Of the image, nothing is in containerd's folders.
	program, err := os.Stat(filepath.Join(d.bin, "pause"))
	if err != nil {
		t.Fatal(err)
	}
	if written := bytesOf(t, d.path("root", "io.containerd.snapshotter.v1.overlayfs", "snapshots")) +
		bytesOf(t, d.path("root", "io.containerd.content.v1.content")); written > program.Size()/10 {
		t.Errorf("%d bytes were written for a program of %d", written, program.Size())
	}
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

func TestAPackedImageRunsAsOneThatWasPulled(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1" // which pods need too
	archive := d.exported(name)
	packed := packedSeed(t, d.path("seed"), archive)
	d.start(d.path("seed"))
	if got := d.apply(d.path("seed")); !slices.Equal(got.Added, []string{name}) || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("again: %+v", got)
	}
	d.collect()
	if written := bytesOf(t, d.path("root", "io.containerd.content.v1.content")); written != 0 {
		t.Errorf("%d bytes of blobs were copied", written)
	}
	images := d.images()
	var status *cri.ImageStatusResponse
	d.waitFor("the image in the CRI plugin", func() bool {
		var err error
		status, err = images.ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: packed.ByDigest()}})
		return err == nil && status.Image != nil
	})
	if status.Image.Id != packed.Config.String() || !status.Image.Pinned || !slices.Equal(status.Image.RepoTags, []string{name}) ||
		!slices.Equal(status.Image.RepoDigests, []string{packed.ByDigest()}) {
		t.Errorf("got %+v", status.Image)
	}

	// The CRI plugin unpacks what was not unpacked when it makes a container.
	if err := d.container(name, filepath.Base(d.dir)); err != nil {
		d.fatal(err)
	}
	d.collect()
	d.check(3)
	if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != 0 || err != nil {
		t.Errorf("unpacked %d, %v", n, err)
	}
}

func TestPackedImagesAreUnpackedOnce(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1"
	packedSeed(t, d.path("seed"), d.exported(name))
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	for _, want := range []int{1, 0} {
		if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != want || err != nil {
			d.fatal(fmt.Errorf("unpacked %d, want %d: %w", n, want, err))
		}
		d.collect()
		d.check(3)
	}
}

// Two names of one image, one of them by an index: both want its ID.
func TestImagesOfOneConfigLiveTogether(t *testing.T) {
	d := newDaemon(t)
	const name, indexed = "skerry.dev/pause:v1", "skerry.dev/the-same:v1"
	program, err := os.ReadFile(filepath.Join(d.bin, "pause"))
	if err != nil {
		t.Fatal(err)
	}
	layout := d.path("layout")
	if err := layouttest.Write(layout, name, runtime.GOARCH, program); err != nil {
		t.Fatal(err)
	}
	top := filepath.Join(layout, ocispec.ImageIndexFile)
	text, err := os.ReadFile(top)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	manifest := index.Manifests[0]
	manifest.Annotations, manifest.Platform = nil, &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	between, err := json.Marshal(ocispec.Index{Versioned: index.Versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	index.Manifests = append(index.Manifests, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(between), Size: int64(len(between)),
		Annotations: map[string]string{ocispec.AnnotationRefName: indexed},
	})
	text, err = json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(top, text, 0o644),
		os.WriteFile(filepath.Join(layout, "blobs", "sha256", digest.FromBytes(between).Encoded()), between, 0o644)); err != nil {
		t.Fatal(err)
	}

	packedSeed(t, d.path("seed"), layout)
	d.start(d.path("seed"))
	if got := d.apply(d.path("seed")).Added; !slices.Equal(got, []string{name, indexed}) {
		t.Errorf("added %v", got)
	}
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("again: %+v", got)
	}
	d.collect()
	if n, err := Unpack(t.Context(), d.client, d.open(d.path("seed"))); n != 1 || err != nil {
		d.fatal(fmt.Errorf("unpacked %d: %w", n, err))
	}
	d.collect()
	d.check(5)
	if err := d.container(indexed, filepath.Base(d.dir)); err != nil {
		d.fatal(err)
	}
}

// After an update that has an image no more, nothing of it may be left that says
// it were there: not under names that somebody gave it either.
func TestAPackedImageThatIsGoneCanBePulledAgain(t *testing.T) {
	d := newDaemon(t)
	const name, alias = "skerry.dev/pause:v1", "example.com/mine:v1"
	archive := d.exported(name)
	packed := packedSeed(t, d.path("seed"), archive)
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	// As a pull of the same image does, which finds all of it there and takes the
	// labels away.
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	record, err := d.client.ImageService().Get(ctx, name)
	if err != nil {
		d.fatal(err)
	}
	record.Labels = nil
	if _, err := d.client.ImageService().Update(ctx, record); err != nil {
		d.fatal(err)
	}
	d.ctr("images", "tag", name, alias)
	d.kill()

	seedOf(t, d.path("second"), map[string]string{"skerry.dev/other:v1": filepath.Join(d.bin, "pause")})
	d.start(d.path("second"))
	got := d.apply(d.path("second")).Removed
	slices.Sort(got)
	want := []string{packed.Config.String(), packed.ByDigest(), name, alias}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("removed %v\nwant %v", got, want)
	}
	d.collect()
	d.ctr("images", "import", "--snapshotter", "overlayfs", archive)
	d.ctr("run", "--detach", name, "one")
	d.waitFor("the container", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "RUNNING") })
	d.ctr("tasks", "rm", "-f", "one")
}

func TestANameThatWasPulledSinceStaysTheRegistrys(t *testing.T) {
	d := newDaemon(t)
	const name = "skerry.dev/pause:v1"
	shim := filepath.Join(d.bin, "containerd-shim-runc-v2")
	seedOf(t, d.path("newer"), map[string]string{name: shim})
	d.start(d.path("newer"))
	d.apply(d.path("newer"))
	newer := d.path("newer.tar")
	d.ctr("images", "export", newer, name)
	d.kill()
	if err := os.RemoveAll(d.path("root")); err != nil {
		t.Fatal(err)
	}
	seedOf(t, d.path("seed"), map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(d.path("seed"))
	d.apply(d.path("seed"))
	d.ctr("images", "import", "--snapshotter", "overlayfs", newer) // to where the name leads now
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	pulled, err := d.client.ImageService().Get(ctx, name)
	if err != nil {
		d.fatal(err)
	}
	pulled.Labels = nil
	if _, err := d.client.ImageService().Update(ctx, pulled); err != nil {
		d.fatal(err)
	}
	if got := d.apply(d.path("seed")); got.Added != nil || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	if now, err := d.client.ImageService().Get(ctx, name); err != nil || now.Target.Digest != pulled.Target.Digest {
		t.Errorf("%s is %s, and was pulled as %s, %v", name, now.Target.Digest, pulled.Target.Digest, err)
	}
}

// exported is an archive with an image of pause, as people have it, by
// containerd's own tool. The daemon is as new afterwards.
func (d *daemon) exported(name string) (archive string) {
	d.t.Helper()
	seedOf(d.t, d.path("first"), map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(d.path("first"))
	d.apply(d.path("first"))
	archive = d.path("archive.tar")
	d.ctr("images", "export", archive, name)
	d.kill()
	if err := os.RemoveAll(d.path("root")); err != nil {
		d.t.Fatal(err)
	}
	return archive
}

// packedSeed makes a seed of the image in an archive, as the builder does.
func packedSeed(t *testing.T, dir, archive string) imageseed.Packed {
	t.Helper()
	made, err := containerimage.Unpack(t.Context(), archive, t.TempDir(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	text, err := (&imageseed.Index{Packed: made.Images}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	root := tree.New()
	if err := errors.Join(root.AddBytes(filepath.Join(imageseed.Folder, imageseed.IndexName), 0o644, text), made.Place(root)); err != nil {
		t.Fatal(err)
	}
	whole := t.TempDir()
	if err := errors.Join(root.WriteTo(whole), os.CopyFS(dir, os.DirFS(filepath.Join(whole, imageseed.Folder)))); err != nil {
		t.Fatal(err)
	}
	return made.Images[0]
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

func TestTheKubeletSeesSeededImagesAsPinned(t *testing.T) {
	d := newDaemon(t)
	dir := d.path("seed")
	const name = "skerry.dev/pause:v1"
	seed := seedOf(t, dir, map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(dir)
	d.apply(dir)
	service := d.images()
	var status *cri.ImageStatusResponse
	d.waitFor("the image in the CRI plugin", func() bool {
		var err error
		status, err = service.ImageStatus(t.Context(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
		return err == nil && status.Image != nil
	})
	if status.Image.Id != seed.Images()[0].ConfigDigest().String() || !status.Image.Pinned || !slices.Equal(status.Image.RepoTags, []string{name}) {
		t.Errorf("got %+v", status.Image)
	}
	// After a restart the plugin reads what there is.
	d.kill()
	d.start(dir)
	d.waitFor("the image after a restart", func() bool {
		list, err := service.ListImages(t.Context(), &cri.ListImagesRequest{})
		return err == nil && len(list.Images) == 1 && list.Images[0].Pinned
	})
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	d := newDaemon(t)
	dir := d.path("seed")
	seedOf(t, dir, map[string]string{"skerry.dev/pause:v1": filepath.Join(d.bin, "pause"), "skerry.dev/other:v1": filepath.Join(d.bin, "pause")})
	d.start(dir)
	d.apply(dir)
	d.kill()
	database := func() string {
		contents, err := os.ReadFile(d.path("root", "io.containerd.metadata.v1.bolt", "meta.db"))
		if err != nil {
			t.Fatal(err)
		}
		return digest.FromBytes(contents).String()
	}
	d.start(dir)
	d.collect()
	before := database()
	if got := d.apply(dir); got.Added != nil || got.Removed != nil {
		t.Errorf("got %+v", got)
	}
	if database() != before {
		t.Error("containerd's database was written to")
	}
	d.check(4)
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

func TestAnUpdatedReleaseReplacesItsImages(t *testing.T) {
	d := newDaemon(t)
	first, second := d.path("first"), d.path("second")
	const kept, changed, gone, fresh = "skerry.dev/a:v1", "skerry.dev/b:v1", "skerry.dev/c:v1", "skerry.dev/d:v1"
	pause, runc := filepath.Join(d.bin, "pause"), filepath.Join(d.bin, "containerd-shim-runc-v2")
	old := seedOf(t, first, map[string]string{kept: pause, changed: pause, gone: pause})
	d.start(first)
	d.apply(first)
	d.ctr("images", "tag", kept, "example.com/mine:v1")
	d.kill()
	seedOf(t, second, map[string]string{kept: pause, changed: runc, fresh: pause})
	d.start(second)
	got := d.apply(second)
	slices.Sort(got.Removed)
	want := []string{old.Images()[1].ConfigDigest().String(), old.Images()[2].ConfigDigest().String(), gone}
	slices.Sort(want)
	if !slices.Equal(got.Added, []string{changed, fresh}) || !slices.Equal(got.Removed, want) {
		t.Errorf("got %+v", got)
	}
	d.collect()
	if list := d.ctr("images", "ls", "-q"); strings.Contains(list, gone) || !strings.Contains(list, "example.com/mine:v1") {
		t.Errorf("ctr says\n%s", list)
	}
	d.check(7)
	// The links lead into the folder of this release, and none is left over.
	links, err := filepath.Glob(d.path("root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*", "fs"))
	if err != nil || len(links) != 3 {
		t.Fatalf("got %v, %v", links, err)
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err != nil || !strings.HasPrefix(target, second+"/") {
			t.Errorf("%s leads to %s, %v", l, target, err)
		}
	}
	d.ctr("run", "--detach", kept, "one")
	d.waitFor("the container", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "RUNNING") })
	d.ctr("tasks", "rm", "-f", "one")
}

func TestAHalfMadeSnapshotIsMadeAgain(t *testing.T) {
	d := newDaemon(t)
	dir := d.path("seed")
	const name = "skerry.dev/pause:v1"
	seed := seedOf(t, dir, map[string]string{name: filepath.Join(d.bin, "pause")})
	d.start(dir)
	// As far as a run got whose power was cut before Commit.
	ctx := namespaces.WithNamespace(t.Context(), namespace)
	chain := identity.ChainID([]digest.Digest{seed.Images()[0].Layer.Digest}).String()
	mounts, err := d.client.SnapshotService(snapshotter).Prepare(ctx, "skerry-seed-"+chain, "")
	if err != nil {
		d.fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mounts[0].Source, "half"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.kill()
	d.start(dir)
	d.apply(dir)
	// Nor does it matter when only the link was lost.
	links, err := filepath.Glob(d.path("root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*", "fs"))
	if err != nil || len(links) != 1 {
		t.Fatalf("got %v, %v", links, err)
	}
	if err := os.Remove(links[0]); err != nil {
		t.Fatal(err)
	}
	d.apply(dir)
	d.ctr("run", "--detach", name, "one")
	d.waitFor("the container", func() bool { return strings.Contains(d.ctr("tasks", "ls"), "RUNNING") })
	d.ctr("tasks", "rm", "-f", "one")
}

func TestWithoutTheContentPluginApplySaysSo(t *testing.T) {
	d := newDaemon(t)
	dir := d.path("seed")
	seed := seedOf(t, dir, map[string]string{"skerry.dev/pause:v1": filepath.Join(d.bin, "pause")})
	d.start("")
	if _, err := Apply(t.Context(), d.client, seed); err == nil || !strings.Contains(err.Error(), "content plugin has another seed") {
		t.Errorf("got %v", err)
	}
	if list := d.ctr("images", "ls", "-q"); strings.TrimSpace(list) != "" {
		t.Errorf("ctr says\n%s", list)
	}
}
