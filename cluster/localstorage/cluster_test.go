//go:build cluster

package localstorage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/cluster/clustertest"
)

// What a node may do is decided by the API server: by the Node authorizer, by
// the roles of the battery and by its admission policy.
func TestProvisionerAgainstAnAPIServer(t *testing.T) {
	server := clustertest.Start(t)
	admin := server.Client
	asNode := server.As(t, "system:node:n", "system:nodes")
	ctx, dir := t.Context(), t.TempDir()
	if _, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelHostname: "n"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The rules hold some time after they are written.
	volume := func(name string, change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: Class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/x"}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}},
				}}}},
			},
		}
		change(v)
		return v
	}
	ofAnother := func(v *corev1.PersistentVolume) {
		v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values = []string{"m"}
	}
	create := func(v *corev1.PersistentVolume) error {
		_, err := asNode.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{})
		return err
	}
	clustertest.Eventually(t, "the battery's rules hold", func() bool {
		denied := create(volume("probe", ofAnother))
		asNode.CoreV1().PersistentVolumes().Delete(ctx, "probe", metav1.DeleteOptions{})
		admin.CoreV1().PersistentVolumes().Delete(ctx, "probe", metav1.DeleteOptions{})
		return denied != nil && strings.Contains(denied.Error(), "alone")
	})

	t.Run("a node makes no volumes but its own", func(t *testing.T) {
		for name, change := range map[string]func(*corev1.PersistentVolume){
			"of another node": ofAnother,
			"of any folder": func(v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
			},
			"of another class": func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "other" },
			"without a class":  func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "" },
			"without an affinity": func(v *corev1.PersistentVolume) {
				v.Spec.NodeAffinity = nil
				v.Spec.Local = nil
				v.Spec.NFS = &corev1.NFSVolumeSource{Server: "s", Path: "/"}
			},
			"of two nodes": func(v *corev1.PersistentVolume) {
				e := &v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
				e.Values = append(e.Values, "m")
			},
			"of either of two": func(v *corev1.PersistentVolume) {
				terms := &v.Spec.NodeAffinity.Required.NodeSelectorTerms
				second := (*terms)[0].DeepCopy()
				second.MatchExpressions[0].Values = []string{"m"}
				*terms = append(*terms, *second)
			},
			"of all others": func(v *corev1.PersistentVolume) {
				v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Operator = corev1.NodeSelectorOpNotIn
			},
		} {
			if err := create(volume("v", change)); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := create(volume("good", func(*corev1.PersistentVolume) {})); err != nil {
			t.Errorf("its own: %v", err)
		}
		if err := asNode.CoreV1().PersistentVolumes().Delete(ctx, "good", metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete its own: %v", err)
		}
		if _, err := admin.CoreV1().PersistentVolumes().Create(ctx, volume("foreign", ofAnother), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := asNode.CoreV1().PersistentVolumes().Delete(ctx, "foreign", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("delete another's: %v", err)
		}
	})

	t.Run("a claim is bound to a folder and takes it along", func(t *testing.T) {
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- Run(running, asNode, "n", dir) }()
		claims := admin.CoreV1().PersistentVolumeClaims("default")
		make := func(name string, mode corev1.PersistentVolumeAccessMode) {
			c := &corev1.PersistentVolumeClaim{
				// The scheduler writes the annotation; there is no Pod here.
				ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{selectedNode: "n"}},
				Spec: corev1.PersistentVolumeClaimSpec{ // of the default class
					AccessModes: []corev1.PersistentVolumeAccessMode{mode},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}
			if _, err := claims.Create(ctx, c, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		make("data", corev1.ReadWriteOnce)
		make("many", corev1.ReadWriteMany)
		var path string
		clustertest.Eventually(t, "the claim is bound", func() bool {
			c, err := claims.Get(ctx, "data", metav1.GetOptions{})
			if err != nil || c.Status.Phase != corev1.ClaimBound {
				return false
			}
			path = filepath.Join(dir, folderName(c.Spec.VolumeName, "default", "data"))
			return true
		})
		if err := os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "the refusal is told", func() bool {
			list, err := admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=ProvisioningFailed,involvedObject.name=many"})
			return err == nil && len(list.Items) > 0
		})
		if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "volume and folder are gone", func() bool {
			list, err := admin.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			_, errFolder := os.Stat(path)
			return err == nil && len(list.Items) == 1 && os.IsNotExist(errFolder) // "foreign" stays
		})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
