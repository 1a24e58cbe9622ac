//go:build cluster

package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skerry-os/skerry/cluster/clustertest"
	"github.com/skerry-os/skerry/jointoken"
)

const namespace = metav1.NamespaceDefault

// write makes an object, however long it takes, and returns once the server has
// acknowledged it.
func write(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	clustertest.Eventually(t, "write "+name, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err)
	})
}

func exists(t *testing.T, client kubernetes.Interface, name string) bool {
	t.Helper()
	var err error
	clustertest.Eventually(t, "read "+name, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil || apierrors.IsNotFound(err)
	})
	return err == nil
}

// token is one that a server prints.
func token(t *testing.T, s *clustertest.Server, role string) jointoken.Token {
	t.Helper()
	output, err := s.Skerry(t, "token", "--role", role, "--data-dir", s.Dir)
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	read, err := jointoken.Parse(output)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// endpoints are where the Service kubernetes leads.
func endpoints(t *testing.T, client kubernetes.Interface) (addresses []string) {
	t.Helper()
	found, err := client.DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
	if err != nil {
		return nil
	}
	for _, slice := range found.Items {
		for _, endpoint := range slice.Endpoints {
			addresses = append(addresses, endpoint.Addresses...)
		}
	}
	slices.Sort(addresses)
	return addresses
}

func TestThreeServersAgainstAnAPIServer(t *testing.T) {
	machines := clustertest.Network(t, "a", "b", "c")
	first := machines[0].Server(t, "--cluster-init")
	first.Begin(t)
	first.WaitUntilReady(t)
	write(t, first.Client, "from-a")

	// Who may not become a server is told why, and has nothing.
	good := token(t, first, jointoken.Server)
	for name, test := range map[string]struct{ token, want string }{
		"an agent's token": {token(t, first, jointoken.Agent).String(), "role agent"},
		"another secret":   {jointoken.New(good.CA, jointoken.Server).String(), "not valid in this cluster"},
		"another CA":       {jointoken.New(strings.Repeat("ab", 32), jointoken.Server).String(), "another cluster, or somebody is in between"},
		"an agent's secret as a server's": {
			jointoken.Token{CA: good.CA, Role: jointoken.Server, Secret: token(t, first, jointoken.Agent).Secret}.String(), "not valid in this cluster"},
	} {
		s := machines[1].Server(t, "--server", machines[0].URL(), "--token", test.token)
		s.Begin(t)
		if log := s.Fails(t); !strings.Contains(log, test.want) {
			t.Errorf("%s: the server says %s", name, log)
		}
		if found, _ := filepath.Glob(filepath.Join(s.Dir, "server", "tls", "*")); len(found) > 0 {
			t.Errorf("%s: it has %v", name, found)
		}
	}
	differs := machines[1].Server(t, "--server", machines[0].URL(), "--token", good.String(), "--service-cidr", "10.99.0.0/16")
	differs.Begin(t)
	if log := differs.Fails(t); !strings.Contains(log, `--service-cidr is "10.43.0.0/16" there and "10.99.0.0/16" here`) {
		t.Errorf("other settings: the server says %s", log)
	}

	servers := []*clustertest.Server{first}
	for _, m := range machines[1:] {
		s := m.Server(t, "--server", machines[0].URL(), "--token", good.String())
		s.Begin(t)
		servers = append(servers, s)
	}
	for _, s := range servers[1:] {
		s.WaitUntilReady(t)
	}
	b, c := servers[1], servers[2]
	for i, s := range servers {
		if !exists(t, s.Client, "from-a") {
			t.Errorf("server %d does not have what was written on the first", i)
		}
	}
	write(t, c.Client, "from-c")
	if !exists(t, first.Client, "from-c") {
		t.Error("the first server does not have what was written on the third")
	}
	// Secrets are encrypted with one key.
	if _, err := b.Client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if secret, err := c.Client.CoreV1().Secrets(namespace).Get(t.Context(), "s", metav1.GetOptions{}); err != nil || string(secret.Data["k"]) != "v" {
		t.Errorf("a Secret of another server: %v", err)
	}
	all := []string{machines[0].Address, machines[1].Address, machines[2].Address}
	clustertest.Eventually(t, "the Service kubernetes leads to all servers", func() bool { return slices.Equal(endpoints(t, b.Client), all) })
	if token(t, c, jointoken.Agent) != token(t, first, jointoken.Agent) {
		t.Error("servers print different tokens for agents")
	}

	// One is gone without a word: the others go on, and it comes back.
	first.Kill()
	write(t, b.Client, "without-a")
	if !exists(t, c.Client, "without-a") {
		t.Error("the third server does not have what was written without the first")
	}
	clustertest.Eventually(t, "the Service kubernetes leads to those that live", func() bool { return slices.Equal(endpoints(t, b.Client), all[1:]) })
	clustertest.Eventually(t, "another server leads", func() bool {
		lease, err := b.Client.CoordinationV1().Leases(metav1.NamespaceSystem).Get(t.Context(), "skerry", metav1.GetOptions{})
		return err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "a"
	})
	first.Begin(t)
	first.WaitUntilReady(t)
	if !exists(t, first.Client, "without-a") {
		t.Error("the server that was away has not caught up")
	}

	// A server whose Node somebody deletes loses its place.
	if _, err := b.Client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Client.CoreV1().Nodes().Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if log := c.Fails(t); !strings.Contains(log, "was removed from the cluster") {
		t.Errorf("the removed server says %s", log)
	}
	write(t, first.Client, "two-left")

	// And it may join again, with its keys but without its data.
	aside := filepath.Join(c.Dir, "server", "etcd-aside")
	if err := os.Rename(filepath.Join(c.Dir, "server", "etcd"), aside); err != nil {
		t.Fatal(err)
	}
	c.Begin(t)
	c.WaitUntilReady(t)
	if !exists(t, c.Client, "two-left") {
		t.Error("the server that joined again does not have all")
	}
}

func TestADatastoreIsNotExchangedAgainstAnAPIServer(t *testing.T) {
	s := clustertest.Network(t, "a")[0].Server(t)
	s.Begin(t)
	s.WaitUntilReady(t)
	write(t, s.Client, "kept")
	s.Stop(t)
	s.Begin(t, "--datastore", "etcd")
	if log := s.Fails(t); !strings.Contains(log, "nothing was changed") {
		t.Errorf("the server says %s", log)
	}
	s.Begin(t)
	s.WaitUntilReady(t)
	if !exists(t, s.Client, "kept") {
		t.Error("it is gone")
	}
}

// The API server and the controllers find what each cluster has in a new
// datastore: had they made it, or changed it, the objects would tell.
func TestFirstObjectsAreThereAgainstAnAPIServer(t *testing.T) {
	for _, store := range []string{"sqlite", "etcd"} {
		t.Run(store, func(t *testing.T) {
			s := clustertest.Network(t, "a")[0].Server(t, "--datastore", store)
			s.Begin(t)
			s.WaitUntilReady(t)
			bindings := bootstrapBindings(t, s.Client)
			if len(bindings) < 50 {
				t.Errorf("there are %d bindings", len(bindings))
			}
			for _, binding := range bindings {
				expectUnmanaged(t, "binding", binding.ObjectMeta)
			}
			flows, err := s.Client.FlowcontrolV1().FlowSchemas().List(t.Context(), metav1.ListOptions{})
			if err != nil || len(flows.Items) < 5 {
				t.Errorf("%d flow schemas, error %v", len(flows.Items), err)
			}
			for _, flow := range flows.Items {
				expectUnmanaged(t, "flow schema", flow.ObjectMeta)
			}
			// Namespaces get one when all controllers have theirs.
			clustertest.Eventually(t, "there is a default account", func() bool {
				_, err := s.Client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(t.Context(), "default", metav1.GetOptions{})
				return err == nil
			})
			accounts, err := s.Client.CoreV1().ServiceAccounts(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			filled := 0
			for _, account := range accounts.Items {
				if account.Name == "default" || account.Annotations["skerry.dev/source"] != "" {
					continue
				}
				expectUnmanaged(t, "account", account.ObjectMeta)
				filled++
			}
			if filled < 30 {
				t.Errorf("%d accounts were there", filled)
			}

			s.Stop(t)
			s.Begin(t)
			s.WaitUntilReady(t)
			for i, binding := range bootstrapBindings(t, s.Client) {
				if before := bindings[i]; binding.Name != before.Name || binding.UID != before.UID || binding.ResourceVersion != before.ResourceVersion {
					t.Errorf("after another start: binding %s %s %s, before %s %s %s", binding.Name, binding.UID, binding.ResourceVersion, before.Name, before.UID, before.ResourceVersion)
				}
			}
		})
	}
}

// What is missing in the datastore of an older version, or was deleted, comes
// back.
func TestWhatIsMissingComesBackAgainstAnAPIServer(t *testing.T) {
	s := clustertest.Network(t, "a")[0].Server(t)
	s.Begin(t)
	s.WaitUntilReady(t)
	const role, account = "system:node-proxier", "node-controller"
	rbac, accounts := s.Client.RbacV1(), s.Client.CoreV1().ServiceAccounts(metav1.NamespaceSystem)
	if err := errors.Join(
		rbac.ClusterRoles().Delete(t.Context(), role, metav1.DeleteOptions{}),
		rbac.ClusterRoleBindings().Delete(t.Context(), role, metav1.DeleteOptions{}),
		accounts.Delete(t.Context(), account, metav1.DeleteOptions{}),
	); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	s.Begin(t)
	s.WaitUntilReady(t)
	_, err := rbac.ClusterRoles().Get(t.Context(), role, metav1.GetOptions{})
	_, errBinding := rbac.ClusterRoleBindings().Get(t.Context(), role, metav1.GetOptions{})
	if err := errors.Join(err, errBinding); err != nil {
		t.Error(err)
	}
	clustertest.Eventually(t, "the account is back", func() bool {
		_, err := accounts.Get(t.Context(), account, metav1.GetOptions{})
		return err == nil
	})
}

func bootstrapBindings(t *testing.T, client kubernetes.Interface) []rbacv1.ClusterRoleBinding {
	t.Helper()
	list, err := client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/bootstrapping"})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// expectUnmanaged fails if somebody made or changed an object through the API,
// but for its status.
func expectUnmanaged(t *testing.T, kind string, object metav1.ObjectMeta) {
	t.Helper()
	for _, entry := range object.ManagedFields {
		if entry.Subresource != "status" && entry.Manager != "before-first-apply" {
			t.Errorf("%s %s: %+v", kind, object.Name, entry)
		}
	}
}

// What the API server has acknowledged is there after the process was killed
// while it wrote.
func TestNoAcknowledgedObjectIsLostAgainstAnAPIServer(t *testing.T) {
	for _, store := range []string{"sqlite", "etcd"} {
		t.Run(store, func(t *testing.T) {
			s := clustertest.Network(t, "a")[0].Server(t, "--datastore", store)
			s.Begin(t)
			s.WaitUntilReady(t)
			var written []string
			for round := range 4 {
				writers := clustertest.Write(t.Context(), s.Client, namespace, fmt.Sprintf("r%d", round))
				clustertest.Eventually(t, "objects are written", func() bool {
					n, _ := writers.Count()
					return n >= 50*(round+1)
				})
				s.Kill()
				written = append(written, writers.Stop()...)
				s.Begin(t)
				s.WaitUntilReady(t)
				list, err := s.Client.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				clustertest.ExpectAll(t, list, written)
			}
		})
	}
}
