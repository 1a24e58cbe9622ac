//go:build rootful

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

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
	d.export(exported, name)
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
	links := d.links(3)
	for _, l := range links {
		if target, err := os.Readlink(l); err != nil || !strings.HasPrefix(target, second+"/") {
			t.Errorf("%s leads to %s, %v", l, target, err)
		}
	}
	d.runs(kept)
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
	links := d.links(1)
	if err := os.Remove(links[0]); err != nil {
		t.Fatal(err)
	}
	d.apply(dir)
	d.runs(name)
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
