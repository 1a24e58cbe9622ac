package localstorage

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

func claim(name string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := Class
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: types.UID("uid-" + name),
			Annotations: map[string]string{selectedNode: "n", provisionerOf: Provisioner},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func TestClaimsThatOneNodeCannotServeAreRefused(t *testing.T) {
	block, group := corev1.PersistentVolumeBlock, "snapshot.storage.k8s.io"
	for name, c := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		want  string
	}{
		"one node": {claim("c"), ""},
		"one Pod":  {claim("c", func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadWriteOncePod }), ""},
		"many nodes": {claim("c", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = append(c.Spec.AccessModes, corev1.ReadWriteMany)
		}), "ReadWriteMany"},
		"many readers":   {claim("c", func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadOnlyMany }), "ReadOnlyMany"},
		"a block device": {claim("c", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block }), "mode Block"},
		"a selector":     {claim("c", func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }), "selector"},
		"from another disk": {claim("c", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group}
		}), "data source"},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal(c.claim)
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestFoldersAreOpenToPodsAndNothingElseIs(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	f, err := openFolders(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for range 2 { // a power cut may come between folder and object
		path, err := f.create("pvc-1_default_data")
		if err != nil {
			t.Fatal(err)
		}
		if status, err := os.Stat(path); err != nil || status.Mode().Perm() != 0o777 || !status.IsDir() {
			t.Errorf("%v, %v", status, err)
		}
	}
	if name := folderName("pvc-1", strings.Repeat("n", 63), strings.Repeat("c", 253)); len(name) != longestName {
		t.Errorf("a name of %d bytes", len(name))
	}
	if _, err := f.create(folderName("pvc-2", strings.Repeat("n", 63), strings.Repeat("c", 253))); err != nil {
		t.Error(err)
	}
}

func TestNoLinkLeadsOutOfTheFolders(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f, err := openFolders(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()

	// A Pod leaves a link in its volume.
	path, err := f.create("pvc-1_default_data")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, "out")); err != nil {
		t.Fatal(err)
	}
	if err := f.remove("pvc-1", path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the volume is still there: %v", err)
	}
	// Somebody puts a link in the place of a volume.
	if err := os.Symlink(outside, filepath.Join(dir, "pvc-2_default_data")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.create("pvc-2_default_data"); err == nil {
		t.Error("a link was taken for a volume")
	}
	if err := f.remove("pvc-2", filepath.Join(dir, "pvc-2_default_data")); err != nil {
		t.Error(err)
	}
	// An object names a folder elsewhere, or that of another volume.
	for _, path := range []string{outside, filepath.Join(dir, "..", filepath.Base(outside)), dir, dir + "/", dir + "/.", dir + "/pvc-3_default_data/../../x", "/", "", dir + "/pvc-33_default_data"} {
		if err := f.remove("pvc-3", path); err == nil {
			t.Errorf("%q was removed", path)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

func TestANodeServesItsOwnClaimsAndNoOthers(t *testing.T) {
	elsewhere := claim("elsewhere", func(c *corev1.PersistentVolumeClaim) { c.Annotations[selectedNode] = "m" })
	waiting := claim("waiting", func(c *corev1.PersistentVolumeClaim) { delete(c.Annotations, selectedNode) })
	other := "other"
	foreign := claim("foreign", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = &other })
	many := claim("many", func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadWriteMany })
	client := fake.NewClientset(claim("mine"), elsewhere, waiting, foreign, many)
	dir, ctx := t.TempDir(), t.Context()
	go Run(ctx, client, "n", dir)

	folder := filepath.Join(dir, "pvc-uid-mine_default_mine")
	until(t, "the volume is there", func() bool {
		v, err := client.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-mine", metav1.GetOptions{})
		return err == nil && v.Spec.Local.Path == folder && nodeOf(v) == "n" && v.Spec.ClaimRef.UID == "uid-mine"
	})
	until(t, "the refusal is told", func() bool {
		list, _ := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		return len(list.Items) == 1 && list.Items[0].InvolvedObject.Name == "many"
	})
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("folders %v, %v", entries, err)
	}

	set := func(phase corev1.PersistentVolumePhase, policy corev1.PersistentVolumeReclaimPolicy) {
		v, err := client.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-mine", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v.Status.Phase, v.Spec.PersistentVolumeReclaimPolicy = phase, policy
		if _, err := client.CoreV1().PersistentVolumes().Update(ctx, v, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.CoreV1().PersistentVolumeClaims("default").Delete(ctx, "mine", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	set(corev1.VolumeBound, corev1.PersistentVolumeReclaimDelete)
	set(corev1.VolumeReleased, corev1.PersistentVolumeReclaimRetain)
	time.Sleep(200 * time.Millisecond)
	if _, err := os.Stat(folder); err != nil {
		t.Errorf("a volume that is to be retained: %v", err)
	}
	set(corev1.VolumeReleased, corev1.PersistentVolumeReclaimDelete)
	until(t, "volume and folder are gone", func() bool {
		_, err := client.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-mine", metav1.GetOptions{})
		_, errFolder := os.Stat(folder)
		return err != nil && os.IsNotExist(errFolder)
	})
}
