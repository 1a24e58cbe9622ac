package control

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/kubeconfig"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
)

// A first start makes roles and priority classes; each later one looks whether
// they are there, after a second of sleep, and the API server is not ready until
// then. Where a server of the same version was ready before, nothing here has to
// wait for that.
var bootstrapHooks = []string{"poststarthook/rbac/bootstrap-roles", "poststarthook/scheduling/bootstrap-system-priority-classes"}

const (
	// bootstrapped is the ConfigMap in kube-system that names the version whose
	// objects are in the datastore. It is there and not in a file, so that it is
	// right for whatever datastore this server has.
	bootstrapped = "skerry-bootstrapped"
	versionKey   = "kubernetes"

	askReady = 50 * time.Millisecond
)

// waitForAPI waits until the API server answers and has what the components need
// of its own objects.
func (c *Control) waitForAPI(ctx context.Context) (*rest.Config, kubernetes.Interface, error) {
	restConfig, client, err := kubeconfig.Client(AdminKubeconfig(c.Config))
	if err != nil {
		return nil, nil, err
	}
	var path string
	err = wait.PollUntilContextCancel(ctx, askReady, true, func(ctx context.Context) (bool, error) {
		if path == "" {
			version, err := bootstrapVersion(ctx, client)
			if err != nil {
				return false, nil // it does not answer yet
			}
			path = readyPath(version == kube.Version())
		}
		return isReady(ctx, client, path), nil
	})
	return restConfig, client, err
}

// noteBootstrap waits until the API server is ready, and notes in the cluster
// that it was.
func noteBootstrap(ctx context.Context, client kubernetes.Interface) error {
	if wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		return isReady(ctx, client, readyPath(false)), nil
	}) != nil {
		return nil // ctx ended
	}
	return writeBootstrap(ctx, client)
}

func writeBootstrap(ctx context.Context, client kubernetes.Interface) error {
	version, err := bootstrapVersion(ctx, client)
	if err == nil && version == kube.Version() {
		return nil
	}
	wanted := corev1.ConfigMap(bootstrapped, metav1.NamespaceSystem).WithData(map[string]string{versionKey: kube.Version()})
	_, err = client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "skerry", Force: true})
	if err != nil && ctx.Err() == nil {
		slog.Warn("the next start will be slower by a second", "error", err)
	}
	return nil
}

// bootstrapVersion is the version whose objects are in the datastore; empty if
// none was ready before.
func bootstrapVersion(ctx context.Context, client kubernetes.Interface) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, bootstrapped, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return found.Data[versionKey], nil
}

// readyPath is what to ask the API server for its readiness.
func readyPath(bootstrapped bool) string {
	if !bootstrapped {
		return "/readyz"
	}
	return "/readyz?exclude=" + strings.Join(bootstrapHooks, "&exclude=")
}

func isReady(ctx context.Context, client kubernetes.Interface, path string) bool {
	var status int
	client.Discovery().RESTClient().Get().RequestURI(path).Timeout(5 * time.Second).Do(ctx).StatusCode(&status)
	return status == http.StatusOK
}
