package control

import (
	"testing"

	"k8s.io/client-go/kubernetes/fake"

	kube "github.com/skerry-os/skerry/cluster/kubernetes"
)

func TestTheClusterKnowsWhoseObjectsItHas(t *testing.T) {
	client := fake.NewClientset()
	for _, want := range []string{"", kube.Version(), kube.Version()} {
		version, err := bootstrapVersion(t.Context(), client)
		if err != nil || version != want {
			t.Errorf("version %q, %v, want %q", version, err, want)
		}
		if err := writeBootstrap(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	changes := 0
	for _, action := range client.Actions() {
		if action.GetVerb() == "patch" {
			changes++
		}
	}
	if changes != 1 {
		t.Errorf("it was written %d times", changes)
	}
}

func TestAStartWithDataDoesNotWaitForWhatIsThere(t *testing.T) {
	for bootstrapped, want := range map[bool]string{
		false: "/readyz",
		true:  "/readyz?exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes",
	} {
		if got := readyPath(bootstrapped); got != want {
			t.Errorf("got %s", got)
		}
	}
}
