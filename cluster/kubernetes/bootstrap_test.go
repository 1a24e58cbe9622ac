package kubernetes

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// stored are the first objects as the API server reads them.
func stored(t *testing.T) (objects []runtime.Object) {
	t.Helper()
	values, err := FirstObjects(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		object, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(values[key], nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		objects = append(objects, object)
	}
	return objects
}

// writes are the requests that changed something: verb, resource and name.
func writes(client *fake.Clientset) (list []string) {
	for _, action := range client.Actions() {
		switch action := action.(type) {
		case clienttesting.CreateAction: // an update is one too
			object := action.GetObject().(metav1.Object)
			list = append(list, strings.Join([]string{action.GetVerb(), action.GetResource().Resource, object.GetName()}, " "))
		case clienttesting.DeleteAction:
			list = append(list, strings.Join([]string{"delete", action.GetResource().Resource, action.GetName()}, " "))
		}
	}
	slices.Sort(list)
	return list
}

func ensureAll(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	client.ClearActions()
	for name, ensure := range bootstrapHooks {
		if err := ensure(t.Context(), client); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return writes(client)
}

func TestNothingIsMissingInWhatADatastoreIsFilledWith(t *testing.T) {
	client := fake.NewClientset(stored(t)...)
	if got := ensureAll(t, client); got != nil {
		t.Errorf("written: %v", got)
	}
}

func TestFirstObjectsAreWholeObjects(t *testing.T) {
	now := time.Now()
	values, err := FirstObjects(now)
	if err != nil {
		t.Fatal(err)
	}
	uids := make(map[string]bool)
	for key, value := range values {
		object, kind, err := legacyscheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		meta := object.(metav1.Object)
		if uids[string(meta.GetUID())] || meta.GetUID() == "" {
			t.Errorf("%s: UID %q", key, meta.GetUID())
		}
		uids[string(meta.GetUID())] = true
		if made := meta.GetCreationTimestamp().Time; made.After(now) || now.Sub(made) >= time.Second {
			t.Errorf("%s: made %s, and it is %s", key, made, now)
		}
		want := []string{"", "registry", resources[kind.Kind]}
		if meta.GetNamespace() != "" {
			want = append(want, meta.GetNamespace())
		}
		if want := strings.Join(append(want, meta.GetName()), "/"); key != want {
			t.Errorf("key %s, want %s", key, want)
		}
	}
	// Some whose absence would stop a cluster.
	for _, key := range []string{
		FirstPrefix + "system:kube-scheduler", "/registry/clusterrolebindings/cluster-admin",
		"/registry/roles/kube-system/extension-apiserver-authentication-reader", "/registry/rolebindings/kube-system/system::extension-apiserver-authentication-reader",
		"/registry/priorityclasses/system-node-critical", "/registry/flowschemas/catch-all", "/registry/prioritylevelconfigurations/exempt",
		"/registry/serviceaccounts/kube-system/node-controller",
	} {
		if values[key] == nil {
			t.Errorf("%s is missing", key)
		}
	}
}

var resources = map[string]string{
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
	"PriorityClass": "priorityclasses", "PriorityLevelConfiguration": "prioritylevelconfigurations", "FlowSchema": "flowschemas",
	"ServiceAccount": "serviceaccounts",
}

func TestUnusedAccountsAreOfThePolicy(t *testing.T) {
	bindings := bootstrapPolicy().ClusterRoleBindings
	for _, name := range unusedAccounts {
		known := slices.ContainsFunc(bindings, func(b rbacv1.ClusterRoleBinding) bool {
			return slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Kind == rbacv1.ServiceAccountKind && s.Name == name })
		})
		if !known {
			t.Errorf("%s is not in the policy", name)
		}
	}
}

func TestAnEmptyClusterGetsAllRoles(t *testing.T) {
	client := fake.NewClientset()
	if got, want := len(ensureAll(t, client)), len(stored(t)); got < want/2 {
		t.Errorf("written %d, and the datastore is filled with %d", got, want)
	}
	if got := ensureAll(t, client); got != nil {
		t.Errorf("written again: %v", got)
	}
}

func TestRolesGetWhatTheyLackAndKeepWhatTheyHave(t *testing.T) {
	client := fake.NewClientset(stored(t)...)
	roles := client.RbacV1().ClusterRoles()
	change := func(name string, change func(*rbacv1.ClusterRole)) {
		t.Helper()
		role, err := roles.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(role)
		if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	more := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"tills"}}
	change("system:node-proxier", func(r *rbacv1.ClusterRole) { r.Rules = []rbacv1.PolicyRule{more} })
	change("system:basic-user", func(r *rbacv1.ClusterRole) {
		r.Rules, r.Annotations[rbacv1.AutoUpdateAnnotationKey] = nil, "false"
	})
	if err := client.RbacV1().RoleBindings(metav1.NamespaceSystem).Delete(t.Context(), "system::extension-apiserver-authentication-reader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := ensureAll(t, client)
	// A binding of a namespace makes sure of the namespace.
	want := []string{"create namespaces kube-system", "create rolebindings system::extension-apiserver-authentication-reader", "update clusterroles system:node-proxier"}
	if !slices.Equal(got, want) {
		t.Errorf("written:\n%v\nwant:\n%v", got, want)
	}
	role, err := roles.Get(t.Context(), "system:node-proxier", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(role.Rules) < 2 || role.Rules[0].APIGroups[0] != "example.com" {
		t.Errorf("rules: %+v", role.Rules)
	}
}

func TestOneRoleThatFailsLeavesNoOtherOut(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "clusterroles", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.(clienttesting.CreateAction).GetObject().(metav1.Object).GetName() == "admin" {
			return true, nil, apierrors.NewInternalError(context.DeadlineExceeded)
		}
		return false, nil, nil
	})
	err := ensurePolicy(t.Context(), client)
	if err == nil || !strings.Contains(err.Error(), "role admin: ") || strings.Contains(err.Error(), "view") {
		t.Errorf("error: %v", err)
	}
	if _, err := client.RbacV1().ClusterRoles().Get(t.Context(), "view", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
