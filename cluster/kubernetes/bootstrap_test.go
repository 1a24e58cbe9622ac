package kubernetes

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	restclient "k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	rbac "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
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
		want := []string{StoragePrefix, resources[kind.Kind]}
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

// Other fields would be new steps of upstream's hook.
func TestThePolicyHasWhatUpstreamsHas(t *testing.T) {
	var fields []string
	for field := range reflect.TypeFor[rbac.PolicyData]().Fields() {
		fields = append(fields, field.Name)
	}
	want := []string{"ClusterRoles", "ClusterRoleBindings", "Roles", "RoleBindings", "ClusterRolesToAggregate", "ClusterRoleBindingsToSplit"}
	if !slices.Equal(fields, want) {
		t.Errorf("fields %v, known are %v", fields, want)
	}
}

func TestUpstreamsPolicyStaysAsItIs(t *testing.T) {
	stored(t)
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			if role.UID != "" {
				t.Errorf("role %s in %s has UID %s", role.Name, namespace, role.UID)
			}
		}
	}
}

func TestOtherNamespacesAreNotRead(t *testing.T) {
	client := fake.NewClientset(stored(t)...)
	ensureAll(t, client)
	for _, action := range client.Actions() {
		if resource := action.GetResource().Resource; strings.HasPrefix(resource, "role") && action.GetNamespace() == metav1.NamespaceAll {
			t.Errorf("%s %s of all namespaces", action.GetVerb(), resource)
		}
	}
}

// hook runs a hook, and returns where its end is told.
func hook(ctx context.Context, filled <-chan struct{}, ensure func(context.Context, kubernetes.Interface) error) <-chan error {
	ended := make(chan error, 1)
	go func() {
		run := bootstrapHook("a/hook", filled, ensure)
		ended <- run(genericapiserver.PostStartHookContext{Context: ctx, LoopbackClientConfig: &restclient.Config{}})
	}()
	return ended
}

func TestAHookWaitsForTheDatastoreAndTriesUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		filled, tries := make(chan struct{}), 0
		ended := hook(t.Context(), filled, func(context.Context, kubernetes.Interface) error {
			if tries++; tries < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		time.Sleep(time.Hour)
		if tries > 0 {
			t.Error("it did not wait")
		}
		close(filled)
		if err := <-ended; err != nil || tries != 4 {
			t.Errorf("%d tries, error %v", tries, err)
		}
	})
}

func TestAHookEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(context.Context, kubernetes.Interface) error { return errors.New("no disk") }
		full := make(chan struct{})
		close(full)
		began := time.Now()
		if err := <-hook(t.Context(), full, fails); err == nil || !strings.Contains(err.Error(), "no disk") || time.Since(began) < bootstrapLimit {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		for _, filled := range []chan struct{}{full, make(chan struct{})} {
			ctx, cancel := context.WithCancel(t.Context())
			ended := hook(ctx, filled, fails)
			time.Sleep(time.Minute)
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("at the end of the API server: %v", err)
			}
		}
	})
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
