// Package localstorage makes the volumes of StorageClass local-path: folders on
// the node where the first Pod of a claim was scheduled. Each node does so for
// itself; there are no Pods that do.
//
// A volume lives where it was made and nowhere else: its Pods run on this node
// only, and it is lost with the node's data. What a claim asks for is written
// down and not enforced: a volume may grow until the disk is full. One node at
// a time means that claims for many nodes are refused.
//
// A folder is on the disk before its PersistentVolume is offered, and is
// removed before its PersistentVolume is deleted: a power cut between the two
// is mended at the next start. Whoever deletes a PersistentVolume by hand
// keeps the folder.
//
// The node speaks as itself. What it may do beyond the rights of every node,
// and which volumes it may make, is in cluster/addons/manifests/local-storage.
package localstorage

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const (
	// Class and Provisioner are the names that the StorageClass has.
	Class       = "local-path"
	Provisioner = "skerry.dev/local-path"

	// Annotations that the scheduler and Kubernetes' own controller of volumes
	// put on claims, and provisioners on volumes: see
	// k8s.io/component-helpers/storage/volume.
	selectedNode  = "volume.kubernetes.io/selected-node"
	provisionerOf = "volume.kubernetes.io/storage-provisioner"
	provisionedBy = "pv.kubernetes.io/provisioned-by"

	// retry is how long it takes until what failed is tried again.
	retry = 10 * time.Second
)

// provisioner is a run of this package.
type provisioner struct {
	client  kubernetes.Interface
	node    string
	folders *folders
	events  record.EventRecorder
	claims  corev1listers.PersistentVolumeClaimLister
	volumes corev1listers.PersistentVolumeLister
	told    map[types.UID]string // why a claim gets no volume
	changed chan struct{}
}

// Run makes and removes the volumes of a node below dir until ctx ends.
func Run(ctx context.Context, client kubernetes.Interface, nodeName, dir string) error {
	// Volumes are open to every user: the folder above them is not.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of volumes: %w", err)
	}
	opened, err := openFolders(dir)
	if err != nil {
		return err
	}
	defer opened.close()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: client.CoreV1().Events("")})
	defer broadcaster.Shutdown()

	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	p := &provisioner{
		client: client, node: nodeName, folders: opened,
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Provisioner, Host: nodeName}),
		claims: claims.Lister(), volumes: volumes.Lister(),
		told: map[types.UID]string{}, changed: make(chan struct{}, 1),
	}
	synced := []cache.InformerSynced{}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer()} {
		if _, err := informer.AddEventHandler(p.handler()); err != nil {
			return err
		}
		synced = append(synced, informer.HasSynced)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	for {
		var again <-chan time.Time
		if p.round(ctx) {
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-p.changed:
		}
	}
}

// trim leaves out of an object what says who wrote it.
func trim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	return object, nil
}

// handler wakes Run up for claims and volumes of this node.
func (p *provisioner) handler() cache.ResourceEventHandler {
	tell := func(object any) {
		switch o := object.(type) {
		case *corev1.PersistentVolumeClaim:
			if !p.isMine(o) {
				return
			}
		case *corev1.PersistentVolume:
			if !p.isReleased(o) {
				return
			}
		}
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, object any) { tell(object) }}
}

// isMine tells whether a claim waits for a volume of this node.
func (p *provisioner) isMine(c *corev1.PersistentVolumeClaim) bool {
	return c.Spec.StorageClassName != nil && *c.Spec.StorageClassName == Class && c.Spec.VolumeName == "" && c.DeletionTimestamp == nil &&
		c.Annotations[selectedNode] == p.node && c.Annotations[provisionerOf] == Provisioner
}

// isReleased tells whether a volume was made by this node and is to go.
func (p *provisioner) isReleased(v *corev1.PersistentVolume) bool {
	return v.Status.Phase == corev1.VolumeReleased && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		v.Annotations[provisionedBy] == Provisioner && v.Spec.Local != nil && nodeOf(v) == p.node
}

// round makes and removes what there is to. It tells whether something failed.
func (p *provisioner) round(ctx context.Context) (failed bool) {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return true
	}
	volumes, err := p.volumes.List(labels.Everything())
	if err != nil {
		return true
	}
	told := map[types.UID]string{}
	for _, c := range claims {
		if !p.isMine(c) {
			continue
		}
		why := refusal(c)
		if why == "" {
			err := p.provision(ctx, c)
			if err == nil || ctx.Err() != nil {
				continue
			}
			why, failed = err.Error(), true
		}
		if told[c.UID] = why; p.told[c.UID] != why {
			slog.Warn("a claim gets no volume", "claim", c.Namespace+"/"+c.Name, "why", why)
			p.events.Event(c, corev1.EventTypeWarning, "ProvisioningFailed", why)
		}
	}
	for _, v := range volumes {
		if !p.isReleased(v) {
			continue
		}
		err := p.remove(ctx, v)
		if err == nil || ctx.Err() != nil {
			continue
		}
		failed = true
		if told[v.UID] = err.Error(); p.told[v.UID] != err.Error() {
			slog.Warn("a volume cannot be removed", "volume", v.Name, "error", err)
			p.events.Event(v, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
		}
	}
	p.told = told
	return failed
}

// refusal says why a claim can have no volume, or nothing.
func refusal(c *corev1.PersistentVolumeClaim) string {
	for _, mode := range c.Spec.AccessModes {
		if mode != corev1.ReadWriteOnce && mode != corev1.ReadWriteOncePod {
			return fmt.Sprintf("class %s has no volumes for %s: they are on one node; use ReadWriteOnce, or another class", Class, mode)
		}
	}
	switch {
	case c.Spec.VolumeMode != nil && *c.Spec.VolumeMode != corev1.PersistentVolumeFilesystem:
		return fmt.Sprintf("class %s has no volumes of mode %s: use Filesystem", Class, *c.Spec.VolumeMode)
	case c.Spec.Selector != nil:
		return fmt.Sprintf("class %s makes volumes, it does not select them: take the selector out of the claim", Class)
	case c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil:
		return fmt.Sprintf("class %s cannot fill volumes: take the data source out of the claim", Class)
	}
	return ""
}

// provision makes the volume of a claim.
func (p *provisioner) provision(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	name := "pvc-" + string(c.UID)
	path, err := p.folders.create(folderName(name, c.Namespace, c.Name))
	if err != nil {
		return fmt.Errorf("make the folder of volume %s: %w", name, err)
	}
	mode := corev1.PersistentVolumeFilesystem
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: Provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: Class, AccessModes: c.Spec.AccessModes, VolumeMode: &mode,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node}}},
			}}}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
			},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err == nil {
		slog.Info("a volume was made", "claim", c.Namespace+"/"+c.Name, "folder", path)
	}
	if apierrors.IsAlreadyExists(err) { // its name has the claim's UID
		return nil
	}
	return err
}

// remove deletes a volume and its folder.
func (p *provisioner) remove(ctx context.Context, v *corev1.PersistentVolume) error {
	if err := p.folders.remove(v.Name, v.Spec.Local.Path); err != nil {
		return fmt.Errorf("remove the folder of volume %s: %w", v.Name, err)
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID}})
	if err == nil {
		slog.Info("a volume was removed", "volume", v.Name, "folder", filepath.Base(v.Spec.Local.Path))
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// nodeOf is the one node that can mount a volume, or "".
func nodeOf(v *corev1.PersistentVolume) string {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil || len(v.Spec.NodeAffinity.Required.NodeSelectorTerms) != 1 {
		return ""
	}
	expressions := v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions
	i := slices.IndexFunc(expressions, func(r corev1.NodeSelectorRequirement) bool { return r.Key == corev1.LabelHostname })
	if i < 0 || expressions[i].Operator != corev1.NodeSelectorOpIn || len(expressions[i].Values) != 1 {
		return ""
	}
	return expressions[i].Values[0]
}
