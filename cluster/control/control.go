// Package control is the control plane of a cluster in one process: datastore,
// API server, controller manager, scheduler, what lets nodes join, and what
// keeps the cluster's own objects applied.
//
// The parts share a process because each of them alone costs some ten
// megabytes more. None of them can be started twice in a process: if one
// fails, Run returns, and whoever supervises the process starts a new one.
// Pods do not notice.
//
// With etcd as the datastore there can be several servers: each has the parts,
// and of those that only one may have working they choose a leader.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/addons"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/process"
	"github.com/skerry-os/skerry/cluster/servicelb"
	"github.com/skerry-os/skerry/cluster/snapshot"
	"github.com/skerry-os/skerry/cluster/tunnel"
	"github.com/skerry-os/skerry/nodeconfig"
)

// stopTimeout is how long the components may take to stop before the datastore
// is closed.
const stopTimeout = 10 * time.Second

// Control is a control plane.
type Control struct {
	*config.Config
	// Address is how other machines reach this one.
	Address string
	// Progress is told what the control plane is doing.
	Progress func(step string)

	authorities *authorities
	tunnels     *tunnel.Server
	loopback    atomic.Pointer[join.SecretKeys]
	known       atomic.Pointer[listers.SecretNamespaceLister] // tokens
	etcd        *datastore.Etcd                               // nil: there is a single server
}

// AdminKubeconfig is the file with all rights that this machine's own
// programs use.
func AdminKubeconfig(c *config.Config) string { return c.RunFile("control", "admin.kubeconfig") }

// Ask waits for an answer of this machine's API server, whatever it is.
func Ask(ctx context.Context, c *config.Config) error {
	_, client, err := kubeconfig.Client(AdminKubeconfig(c))
	if err != nil {
		return err
	}
	var status int
	if err := client.Discovery().RESTClient().Get().AbsPath("/livez/ping").MaxRetries(0).Do(ctx).StatusCode(&status).Error(); status == 0 {
		return err
	}
	return nil
}

// DatastoreSocket is where the API server finds the datastore.
func DatastoreSocket(c *config.Config) string { return c.RunFile("control", "datastore.sock") }

// Run runs the control plane until ctx ends or a part of it fails. It returns
// once everything that was acknowledged is on the disk.
func (c *Control) Run(ctx context.Context) error {
	release, err := datastore.Lock(c.ServerDir())
	if err != nil {
		return err
	}
	defer release()
	if err := os.MkdirAll(c.ServerDir("audit"), 0o700); err != nil {
		return err
	}
	if err := datastore.CheckKept(c.ServerDir(), c.Datastore); err != nil {
		return err
	}
	if err := c.checkDatastore(ctx); err != nil {
		return err
	}
	if err := c.fetchKeys(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if c.authorities, err = loadAuthorities(c.ServerDir("tls"), time.Now()); err != nil {
		return err
	}
	ends, err := c.writeCredentials(time.Now())
	if err != nil {
		return err
	}
	if err := c.makeTokens(); err != nil {
		return err
	}
	if err := c.makeEncryption(); err != nil {
		return err
	}
	if err := c.writePolicies(); err != nil {
		return err
	}
	// The datastore stops last.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	store := c.store()
	opened, stored := make(chan struct{}), make(chan error, 1)
	c.Progress("opening the datastore")
	go func() { stored <- store.Run(storeCtx, func() { close(opened) }) }()
	select {
	case <-opened:
	case err := <-stored:
		return err
	case <-ctx.Done():
		stopStore()
		return <-stored
	}

	group, running := process.NewGroup(ctx)
	group.Go(func() error { return c.runComponents(running, store.Flags()) })
	group.Go(func() error { return c.renew(running, ends) })
	group.Go(func() error {
		select {
		case err := <-stored:
			stored <- nil
			if err == nil {
				err = errors.New("the datastore ended")
			}
			return err
		case <-running.Done():
			return nil
		}
	})
	err = group.Wait(stopTimeout)
	stopStore()
	return errors.Join(err, <-stored)
}

// checkDatastore refuses a datastore that is damaged or gone, or restores it if
// somebody said so.
func (c *Control) checkDatastore(ctx context.Context) error {
	refused := snapshot.Check(ctx, c.ServerDir(), c.Server != "")
	if !c.RestoreDamaged || c.Several() || !snapshot.Lost(refused) {
		return refused
	}
	c.Progress("restoring the latest snapshot of the datastore")
	from, aside, err := snapshot.Mend(ctx, c.ServerDir(), refused, time.Now())
	if err != nil {
		return err
	}
	slog.Error("the datastore was damaged: it is what it was at a snapshot", "error", refused, "snapshot", from.Path, "what there was", aside)
	return nil
}

// store is what keeps the cluster's state.
func (c *Control) store() interface {
	Flags() map[string]string
	Run(ctx context.Context, ready func()) error
} {
	if c.Several() {
		c.etcd = c.newEtcd()
		return c.etcd
	}
	return datastore.SQLite{Path: datastore.SQLiteFile(c.ServerDir()), Socket: DatastoreSocket(c.Config), Volatile: c.RunFile("control")}
}

func (c *Control) runComponents(ctx context.Context, storeFlags kube.Flags) error {
	group, ctx := process.NewGroup(ctx)
	server := &join.Server{
		ServerCA: c.authorities.server, ClientCA: c.authorities.client,
		Tokens: c.tokens, Now: time.Now, Cluster: c.clusterFacts, AccessKeys: c.accessKeys(),
		Keys: func() join.Keys {
			if keys := c.loopback.Load(); keys != nil {
				return *keys
			}
			return nil
		},
	}
	if c.etcd != nil {
		server.Members, server.ServerKeys = c.etcd, c.serverKeys
	}
	c.tunnels = tunnel.NewServer(c.authorities.client.Certificate)
	front := func(next http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(join.Prefix, server)
		mux.Handle(tunnel.Path, c.tunnels)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The mux would redirect paths that the API server knows as they are.
			if strings.HasPrefix(r.URL.Path, join.Prefix) {
				mux.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	c.Progress("starting the API server")
	filled := make(chan struct{})
	group.Go(func() error {
		defer close(filled)
		if err := fillDatastore(ctx, storeFlags); err != nil && ctx.Err() == nil {
			slog.Warn("the datastore is not filled: what a new cluster lacks is made later, which takes longer", "error", err)
		}
		return nil
	})
	group.Go(func() error {
		return kube.APIServer{
			Flags: c.apiServerFlags(storeFlags), Front: front, DialKubelet: c.dialKubelet, Filled: filled,
		}.Run(ctx)
	})
	group.Go(func() error {
		// Meanwhile the API server starts, which leaves a processor to others.
		scheduler, err := kube.NewScheduler(ctx, c.schedulerFlags())
		if err != nil {
			return err
		}
		restConfig, client, err := c.waitForAPI(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		c.loopback.Store(&join.SecretKeys{Client: client})
		c.Progress("the API server is ready")
		group.Go(func() error { return c.followTokens(ctx, client) })
		if !c.Several() {
			group.Go(func() error { return c.publishEndpoint(ctx, client) })
		}
		group.Go(func() error { return c.forgetNodes(ctx, client) })
		group.Go(func() error { c.takeSnapshots(ctx); return nil })
		group.Go(func() error {
			return c.asLeader(ctx, client, func(ctx context.Context) error {
				leading, ctx := process.NewGroup(ctx)
				leading.Go(func() error { return kube.ControllerManager(ctx, c.controllerManagerFlags()) })
				leading.Go(func() error { return scheduler.Run(ctx) })
				leading.Go(func() error { return c.runAddons(ctx, restConfig, client) })
				leading.Go(func() error { return c.runServiceLB(ctx, client) })
				return leading.Wait(stopTimeout)
			})
		})
		return nil
	})
	return group.Wait(stopTimeout)
}

// fillDatastore gives one that has nothing yet what each cluster has, while the
// API server starts.
func fillDatastore(ctx context.Context, flags kube.Flags) error {
	return datastore.Fill(ctx, flags["etcd-servers"], kube.FirstPrefix, func() (map[string][]byte, error) { return kube.FirstObjects(time.Now()) })
}

func (c *Control) runServiceLB(ctx context.Context, client kubernetes.Interface) error {
	if !c.Disabled("servicelb") {
		return servicelb.Run(ctx, client)
	}
	if err := servicelb.Withdraw(ctx, client); err != nil && ctx.Err() == nil {
		slog.Warn("addresses of the switched-off load balancer stay at their Services", "error", err)
	}
	return nil
}

// askReady is how long the API server's readiness may go unnoticed.
const askReady = 50 * time.Millisecond

// waitForAPI waits until the API server has its own objects in place. The other
// parts are not started before: they would only take the processors from that.
func (c *Control) waitForAPI(ctx context.Context) (*rest.Config, kubernetes.Interface, error) {
	restConfig, client, err := kubeconfig.Client(AdminKubeconfig(c.Config))
	if err != nil {
		return nil, nil, err
	}
	err = wait.PollUntilContextCancel(ctx, askReady, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return kubeconfig.Ready(ctx, client), nil
	})
	return restConfig, client, err
}

func (c *Control) runAddons(ctx context.Context, restConfig *rest.Config, client kubernetes.Interface) error {
	applier, err := addons.New(c.Config, restConfig, client)
	if err != nil {
		return fmt.Errorf("addons: %w", err)
	}
	return applier.Run(ctx)
}

// accessKeys are those of the settings, which are checked.
func (c *Control) accessKeys() []nodeconfig.AccessKey {
	keys := make([]nodeconfig.AccessKey, 0, len(c.AccessKeys))
	for _, text := range c.AccessKeys {
		var key nodeconfig.AccessKey
		if err := key.UnmarshalText([]byte(text)); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func (c *Control) clusterFacts() join.Response {
	return join.Response{
		ClusterCIDR: c.ClusterCIDR, ServiceCIDR: c.ServiceCIDR,
		ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
		FlannelBackend: c.FlannelBackend,
		NetworkPolicy:  !c.Disabled("network-policy"),
		LocalStorage:   !c.Disabled("local-storage"),
		Servers:        c.servers(),
	}
}
