package networkpolicy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOfAPodOnlyWhatDecidesAboutPacketsIsKept(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	port := []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "p", Namespace: "d", Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		Spec: corev1.PodSpec{
			NodeName: "n", HostNetwork: true, Volumes: []corev1.Volume{{Name: "v"}},
			Containers:     []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "e"}}, Ports: port}},
			InitContainers: []corev1.Container{{Name: "once", Ports: port}, {Name: "sidecar", Image: "i", RestartPolicy: &always, Ports: port}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.42.0.2", PodIPs: []corev1.PodIP{{IP: "10.42.0.2"}}, HostIP: "192.0.2.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady}},
		},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "d", Labels: map[string]string{"app": "x"}},
		Spec: corev1.PodSpec{
			NodeName: "n", HostNetwork: true,
			Containers:     []corev1.Container{{Name: "c", Ports: port}},
			InitContainers: []corev1.Container{{Name: "sidecar", RestartPolicy: &always, Ports: port}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.2", PodIPs: []corev1.PodIP{{IP: "10.42.0.2"}}},
	}
	got, err := trim(pod)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReleasesOfKernels(t *testing.T) {
	for release, want := range map[string]bool{
		"6.12.48+deb13-amd64": true, "6.12": true, "6.13-rc1": true, "7.0.0": true, "10.1": true,
		"6.11.99": false, "6.1.0-40-amd64": false, "5.15.0": false, "": false, "6": false, "99999999999999999999.1": false,
	} {
		if got := atLeast(release, 6, 12); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
