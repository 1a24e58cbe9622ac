//go:build cluster

package addons

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/clustertest"
)

const boats = `apiVersion: skerry.test/v1
kind: Boat
metadata: {name: aurora}
spec: {length: 12}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.skerry.test}
spec:
  group: skerry.test
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer}}}}}}
`

// counter has the paths that an applier applied objects to.
type counter struct {
	mu    sync.Mutex
	paths []string
}

func (c *counter) of(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				c.mu.Lock()
				c.paths = append(c.paths, r.URL.Path)
				c.mu.Unlock()
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

// take returns the paths since it was called last.
func (c *counter) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	paths := c.paths
	c.paths = nil
	return paths
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A control plane applies its own objects; beside it, the tests below apply in
// their own process, to decide when a pass is made.
func TestApplierAgainstAnAPIServer(t *testing.T) {
	server := clustertest.Start(t)
	ctx, client := t.Context(), server.Client

	clustertest.Eventually(t, "the batteries are there", func() bool {
		_, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "metrics-server", metav1.GetOptions{})
		_, errService := client.CoreV1().Services(metav1.NamespaceSystem).Get(ctx, "metrics-server", metav1.GetOptions{})
		return err == nil && errService == nil
	})
	refused := func(t *testing.T) string {
		events, err := client.CoreV1().Events(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "reason=ManifestNotApplied"})
		if err != nil {
			t.Fatal(err)
		}
		var messages []string
		for _, e := range events.Items {
			messages = append(messages, e.Message)
		}
		return strings.Join(messages, "\n")
	}

	t.Run("no battery is refused", func(t *testing.T) {
		if messages := refused(t); messages != "" {
			t.Error(messages)
		}
	})

	t.Run("nodes and the API server get the rights they need and no others", func(t *testing.T) {
		for _, c := range []struct {
			user, group, verb, apiGroup, resource, subresource string
			allowed                                            bool
		}{
			{"system:kube-apiserver", "skerry:apiserver", "create", "", "nodes", "proxy", true},
			{"system:kube-proxy", "skerry:node-network", "watch", "", "nodes", "", true},
			{"system:kube-proxy", "skerry:node-network", "patch", "", "nodes", "status", true},
			{"system:kube-proxy", "skerry:node-network", "patch", "", "nodes", "", false},
			{"system:kube-proxy", "skerry:node-network", "watch", "networking.k8s.io", "networkpolicies", "", true},
			{"system:kube-proxy", "skerry:node-network", "list", "", "pods", "", true},
			{"system:kube-proxy", "skerry:node-network", "watch", "discovery.k8s.io", "endpointslices", "", true},
			{"system:kube-proxy", "skerry:node-network", "list", "", "secrets", "", false},
			{"system:node:n", "system:nodes", "create", "", "persistentvolumes", "", true},
			{"system:node:n", "system:nodes", "watch", "", "persistentvolumeclaims", "", true},
			{"system:node:n", "system:nodes", "update", "", "persistentvolumeclaims", "", false},
		} {
			// The authorizer learns of new rights after whoever wrote them.
			clustertest.Eventually(t, fmt.Sprintf("%s may %s %s/%s: %v", c.user, c.verb, c.resource, c.subresource, c.allowed), func() bool {
				review, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
					Spec: authorizationv1.SubjectAccessReviewSpec{
						User: c.user, Groups: []string{c.group},
						ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: c.verb, Group: c.apiGroup, Resource: c.resource, Subresource: c.subresource},
					},
				}, metav1.CreateOptions{})
				return err == nil && review.Status.Allowed == c.allowed
			})
		}
	})

	applies := &counter{}
	applier := func(t *testing.T, disable ...string) *Applier {
		a, err := New(settings(t, disable...), applies.of(server.Config), client)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	mine := applier(t)
	// The server's own objects are the same, but for the folder of name servers.
	if mine.pass(ctx) {
		t.Fatal(refused(t))
	}

	t.Run("what did not change is not written", func(t *testing.T) {
		before := versions(t, client)
		clear(mine.done)
		if len(applies.take()) == 0 {
			t.Error("nothing was applied before")
		}
		if mine.pass(ctx) {
			t.Fatal(refused(t))
		}
		// Others have a status, whose changes are changes too.
		stateless := regexp.MustCompile(`/(configmaps|serviceaccounts|clusterroles|clusterrolebindings)/`)
		for _, path := range applies.take() {
			if stateless.MatchString(path) {
				t.Errorf("%s was applied again", path)
			}
		}
		after := versions(t, client)
		for name, version := range before {
			if after[name] != version {
				t.Errorf("%s was written", name)
			}
		}
	})

	t.Run("what somebody changed is set back and what they added stays", func(t *testing.T) {
		services := client.CoreV1().Services(metav1.NamespaceSystem)
		patch := `{"metadata":{"labels":{"added":"yes","k8s-app":"other"}},"spec":{"selector":{"k8s-app":"other"}}}`
		if _, err := services.Patch(ctx, "kube-dns", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		clear(mine.done)
		if mine.pass(ctx) {
			t.Fatal(refused(t))
		}
		service, err := services.Get(ctx, "kube-dns", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if service.Spec.Selector["k8s-app"] != "kube-dns" || service.Labels["k8s-app"] != "kube-dns" || service.Labels["added"] != "yes" {
			t.Errorf("selector %v, labels %v", service.Spec.Selector, service.Labels)
		}
	})

	t.Run("a custom resource follows its definition and goes with it", func(t *testing.T) {
		write(t, mine, "boats.yaml", boats)
		clustertest.Eventually(t, "the boat is applied", func() bool { return !mine.pass(ctx) })
		boat := get(ctx, client, "/apis/skerry.test/v1/namespaces/default/boats/aurora")
		if boat != nil {
			t.Errorf("the boat: %v", boat)
		}
		if err := os.Remove(filepath.Join(mine.folder, "boats.yaml")); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "the definition is gone", func() bool {
			mine.pass(ctx)
			return apierrors.IsNotFound(get(ctx, client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.skerry.test"))
		})
	})

	t.Run("of a file with broken documents the others are applied and kept", func(t *testing.T) {
		write(t, mine, "mixed.yaml", named("good"), "kind: [\n",
			"apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n", // no such port
			"apiVersion: v1\nkind: Pod\nmetadata: {name: typo}\nspec: {container: []}\n",             // no such field
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later, namespace: soon}\n")
		if !mine.pass(ctx) {
			t.Error("nothing failed")
		}
		if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, "good", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		messages := refused(t)
		for _, place := range []string{"manifests/mixed.yaml document 2: ", "manifests/mixed.yaml document 3: apply Service default/bad: "} {
			if !strings.Contains(messages, place) {
				t.Errorf("no event of %q:\n%s", place, messages)
			}
		}
		for range patience {
			mine.pass(ctx)
		}
		messages = refused(t)
		for _, place := range []string{"document 4: apply Pod default/typo: ", "document 5: apply ConfigMap soon/later: "} {
			if !strings.Contains(messages, place) {
				t.Errorf("no event of %q:\n%s", place, messages)
			}
		}
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "soon"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		mine.pass(ctx)
		if _, err := client.CoreV1().ConfigMaps("soon").Get(ctx, "later", metav1.GetOptions{}); err != nil {
			t.Errorf("once its namespace is there: %v", err)
		}
		if err := os.Remove(filepath.Join(mine.folder, "mixed.yaml")); err != nil {
			t.Fatal(err)
		}
		if mine.pass(ctx) {
			t.Error(refused(t))
		}
		if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, "good", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("after its file was removed: %v", err)
		}
	})

	t.Run("an object that somebody took over is left alone", func(t *testing.T) {
		write(t, mine, "mine.yaml", named("taken"))
		mine.pass(ctx)
		patch := `{"metadata":{"annotations":{"` + sourceAnnotation + `":null}}}`
		if _, err := client.CoreV1().ConfigMaps("default").Patch(ctx, "taken", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(mine.folder, "mine.yaml"))
		if mine.pass(ctx) {
			t.Error(refused(t))
		}
		if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, "taken", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("a file dropped into the server's folder is applied and pruned by the server", func(t *testing.T) {
		file := filepath.Join(server.Dir, "server", "manifests", "x.yaml")
		if err := os.WriteFile(file, []byte(named("dropped")), 0o600); err != nil {
			t.Fatal(err)
		}
		dropped := func() error {
			_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "dropped", metav1.GetOptions{})
			return err
		}
		clustertest.Eventually(t, "it is applied", func() bool { return dropped() == nil })
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "it is deleted", func() bool { return apierrors.IsNotFound(dropped()) })
	})

	t.Run("the objects of a battery that is switched off are deleted", func(t *testing.T) {
		off := applier(t, "metrics-server")
		if off.pass(ctx) {
			t.Fatal(refused(t))
		}
		clustertest.Eventually(t, "the deployment is gone", func() bool {
			_, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "metrics-server", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		if err := get(ctx, client, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"); !apierrors.IsNotFound(err) {
			t.Errorf("its extension of the API: %v", err)
		}
		if _, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{}); err != nil {
			t.Errorf("another battery: %v", err)
		}
	})
}

// get asks for an object of any kind.
func get(ctx context.Context, client kubernetes.Interface, path string) error {
	return client.Discovery().RESTClient().(*rest.RESTClient).Get().AbsPath(path).Do(ctx).Error()
}

// versions are those of the objects that an applier wrote down, of kinds that no
// controller writes to.
func versions(t *testing.T, client kubernetes.Interface) map[string]string {
	t.Helper()
	list := map[string]string{}
	note := func(kind string, m metav1.ObjectMeta) {
		if m.Annotations[sourceAnnotation] != "" || m.Name == inventoryName {
			list[kind+" "+m.Name] = m.ResourceVersion + "/" + string(m.UID)
		}
	}
	ctx, all := t.Context(), metav1.ListOptions{}
	maps, err := client.CoreV1().ConfigMaps("").List(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range maps.Items {
		note("ConfigMap", o.ObjectMeta)
	}
	services, err := client.CoreV1().Services("").List(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range services.Items {
		note("Service", o.ObjectMeta)
	}
	accounts, err := client.CoreV1().ServiceAccounts("").List(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range accounts.Items {
		note("ServiceAccount", o.ObjectMeta)
	}
	roles, err := client.RbacV1().ClusterRoles().List(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range roles.Items {
		note("ClusterRole", o.ObjectMeta)
	}
	bindings, err := client.RbacV1().ClusterRoleBindings().List(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range bindings.Items {
		note("ClusterRoleBinding", o.ObjectMeta)
	}
	if len(list) < 15 {
		t.Fatalf("only %d objects: %v", len(list), list)
	}
	return list
}
