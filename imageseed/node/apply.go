package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

const (
	// namespace is where the CRI plugin looks for images.
	namespace = "k8s.io"
	// snapshotter is the one whose snapshots can be links: it names each by a
	// folder that the kernel looks up.
	snapshotter = "overlayfs"
	// seedLabel marks what Apply made: image records, and snapshots, whose label
	// says where the link is.
	seedLabel = "skerry.dev/seed"
)

// imageLabels are those of an image that the CRI plugin pulled and that kubelet
// never removes (containerd, internal/cri/labels).
var imageLabels = map[string]string{
	"io.cri-containerd.image":  "managed",
	"io.cri-containerd.pinned": "pinned",
	seedLabel:                  "true",
}

// Changes names the images that Apply added or changed, and those of an earlier
// release that it removed.
type Changes struct {
	Added   []string
	Removed []string
}

// Apply makes the images of the seed known to containerd, whose content plugin
// has the same seed (RegisterContent), and removes those of an earlier release.
// A name that was pulled since is that of the registry's image, and stays it.
// No data is copied. It can be interrupted at any point, by a power cut too, and
// called again: what is there already is left alone. One image that fails does
// not keep the others from being added.
func Apply(ctx context.Context, client *containerd.Client, seed *imageseed.Seed) (Changes, error) {
	a := &application{client: client, seed: seed}
	ctx = namespaces.WithNamespace(ctx, namespace)
	wanted := map[string]bool{}
	var errs []error
	for i := range seed.Images() {
		image := &seed.Images()[i]
		for _, name := range namesOf(image) {
			wanted[name] = true
		}
		if err := a.image(ctx, image); err != nil {
			errs = append(errs, fmt.Errorf("container image %s: %w", image.Reference, err))
		}
	}
	for i := range seed.Packed() {
		image := &seed.Packed()[i]
		// Two images can have one config, and so one ID: the first has the name.
		names := slices.DeleteFunc(namesOfPacked(image), func(name string) bool { return wanted[name] })
		for _, name := range names {
			wanted[name] = true
		}
		if err := a.packed(ctx, image, names); err != nil {
			errs = append(errs, fmt.Errorf("container image %s: %w", image.Reference, err))
		}
	}
	errs = append(errs, a.removeGone(ctx, wanted))
	if a.unlease != nil {
		// The images are known: nothing needs the lease any more. It expires if
		// this fails.
		errs = append(errs, a.unlease(context.WithoutCancel(ctx)))
	}
	return a.changes, errors.Join(errs...)
}

// application is one run of Apply.
type application struct {
	client  *containerd.Client
	seed    *imageseed.Seed
	changes Changes
	leased  context.Context // nil until something is changed
	unlease func(context.Context) error
}

// lease returns a context whose lease keeps what is made from being collected
// as garbage before an image refers to it.
func (a *application) lease(ctx context.Context) (context.Context, error) {
	if a.leased == nil {
		leased, unlease, err := a.client.WithLease(ctx)
		if err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		a.leased, a.unlease = leased, unlease
	}
	return a.leased, nil
}

// namesOf returns the names of an image's records: the CRI plugin knows an image
// by its reference and, as pods' status does, by its ID.
func namesOf(image *imageseed.Image) []string {
	return []string{image.ConfigDigest().String(), image.Reference}
}

// image adds what is missing of one image: what is referred to first.
func (a *application) image(ctx context.Context, image *imageseed.Image) error {
	chain := identity.ChainID([]digest.Digest{image.Layer.Digest})
	for _, b := range []struct {
		desc   ocispec.Descriptor
		labels map[string]string
	}{
		{ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: image.Layer.Digest, Size: image.Layer.Size},
			map[string]string{"containerd.io/uncompressed": image.Layer.Digest.String()}},
		{ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: image.ConfigDigest(), Size: int64(len(image.Config))},
			map[string]string{"containerd.io/gc.ref.snapshot." + snapshotter: chain.String()}},
		{image.Descriptor(), map[string]string{
			"containerd.io/gc.ref.content.config": image.ConfigDigest().String(),
			"containerd.io/gc.ref.content.l.0":    image.Layer.Digest.String(),
		}},
	} {
		if err := a.blob(ctx, b.desc, b.labels); err != nil {
			return fmt.Errorf("blob %s: %w", b.desc.Digest, err)
		}
	}
	if err := a.snapshot(ctx, chain.String(), a.seed.RootFS(image.Layer.Digest)); err != nil {
		return fmt.Errorf("snapshot %s: %w", chain, err)
	}
	return a.records(ctx, image.Reference, namesOf(image), image.Descriptor())
}

// records makes an image known by its names.
func (a *application) records(ctx context.Context, reference string, names []string, target ocispec.Descriptor) error {
	changed := false
	for _, name := range names {
		c, err := a.record(ctx, images.Image{Name: name, Target: target, Labels: imageLabels})
		if err != nil {
			return fmt.Errorf("record %s: %w", name, err)
		}
		changed = changed || c
	}
	if changed {
		a.changes.Added = append(a.changes.Added, reference)
	}
	return nil
}

// blob makes a blob of the seed visible in the namespace, with labels that tell
// the garbage collector what it refers to.
func (a *application) blob(ctx context.Context, desc ocispec.Descriptor, labels map[string]string) error {
	cs := a.client.ContentStore()
	info, err := cs.Info(ctx, desc.Digest)
	if err == nil {
		return a.label(ctx, info, labels)
	}
	if !errdefs.IsNotFound(err) {
		return err
	}
	if ctx, err = a.lease(ctx); err != nil {
		return err
	}
	w, err := cs.Writer(ctx, content.WithRef("skerry-seed-"+desc.Digest.String()), content.WithDescriptor(desc))
	if err != nil {
		return err
	}
	defer w.Close()
	// A writer for a blob that the store has under it is complete from the start.
	status, err := w.Status()
	if err != nil {
		return err
	}
	if status.Offset != desc.Size {
		return errors.Join(errors.New("containerd does not have it: its content plugin has another seed, or content_sharing_policy is not shared"),
			cs.Abort(ctx, "skerry-seed-"+desc.Digest.String()))
	}
	err = w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// label adds labels that are missing: a blob may have been pulled before.
func (a *application) label(ctx context.Context, info content.Info, labels map[string]string) error {
	var paths []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if info.Labels[key] != labels[key] {
			paths = append(paths, "labels."+key)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	_, err := a.client.ContentStore().Update(ctx, content.Info{Digest: info.Digest, Labels: labels}, paths...)
	return err
}

// record creates or corrects an image record and tells whether it had to.
func (a *application) record(ctx context.Context, image images.Image) (changed bool, err error) {
	service := a.client.ImageService()
	old, err := service.Get(ctx, image.Name)
	if errdefs.IsNotFound(err) {
		_, err = service.Create(ctx, image)
		return true, err
	}
	if err != nil {
		return false, err
	}
	var paths []string
	if old.Target.Digest != image.Target.Digest {
		// A pull takes the label away.
		if old.Labels[seedLabel] == "" && a.readable(ctx, old) == nil {
			return false, nil
		}
		paths = append(paths, "target")
	}
	for _, key := range slices.Sorted(maps.Keys(image.Labels)) {
		if old.Labels[key] != image.Labels[key] {
			paths = append(paths, "labels."+key)
		}
	}
	if len(paths) == 0 {
		return false, nil
	}
	_, err = service.Update(ctx, image, paths...)
	return true, err
}

// removeGone removes the records that Apply made for images which the seed has no
// more, and those of images whose manifest or config is nowhere: of what was
// carried by an earlier release, and then pulled or tagged under a name of which
// Apply knows nothing. Containerd would take them for complete, and fetch nothing.
// What only these refer to is collected as garbage.
func (a *application) removeGone(ctx context.Context, wanted map[string]bool) error {
	service := a.client.ImageService()
	all, err := service.List(ctx)
	if err != nil {
		return fmt.Errorf("list container images: %w", err)
	}
	gone := slices.DeleteFunc(all, func(image images.Image) bool {
		return wanted[image.Name] || image.Labels[seedLabel] == "" && !errdefs.IsNotFound(a.readable(ctx, image))
	})
	var errs []error
	for i, image := range gone {
		var opts []images.DeleteOpt
		if i == len(gone)-1 { // garbage is collected before somebody pulls what it was
			opts = append(opts, images.SynchronousDelete())
		}
		if err := service.Delete(ctx, image.Name, opts...); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove container image %s, which is gone: %w", image.Name, err))
			continue
		}
		a.changes.Removed = append(a.changes.Removed, image.Name)
	}
	return errors.Join(errs...)
}

// readable reads what says how an image is unpacked and run.
func (a *application) readable(ctx context.Context, image images.Image) error {
	cs := a.client.ContentStore()
	config, err := image.Config(ctx, cs, platforms.Default())
	if err != nil {
		return err
	}
	_, err = content.ReadBlob(ctx, cs, config)
	return err
}
