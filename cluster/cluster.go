// Package cluster is the single binary: a cluster server or a cluster agent of
// three processes of one file.
//
//	skerry server = control    datastore, API server, controllers, scheduler
//	              + node       kubelet, kube-proxy, network, unless DisableAgent
//	              + containerd
//	skerry agent  = node + containerd
//
// The first process is the control plane, or the node of an agent; it
// supervises the others. A failure of the first ends them all, and whatever
// started it starts it again. Pods outlive all three.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/container"
	"github.com/skerry-os/skerry/cluster/control"
	"github.com/skerry-os/skerry/cluster/dataversion"
	"github.com/skerry-os/skerry/cluster/hostcheck"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
	"github.com/skerry-os/skerry/cluster/liveness"
	"github.com/skerry-os/skerry/cluster/node"
	"github.com/skerry-os/skerry/cluster/notify"
	"github.com/skerry-os/skerry/cluster/process"
)

// The hidden commands of the parts.
const (
	NodePart       = "run-node"
	ContainerdPart = "run-containerd"
)

// parts are those that run beside the first process.
var (
	nodePart       = process.Part{Name: NodePart, Watch: watchNode}
	containerdPart = process.Part{Name: ContainerdPart, Watch: watchContainerd}
)

func watchControl(ctx context.Context, c *config.Config) error {
	return liveness.Watch(ctx, func(ctx context.Context) error { return control.Ask(ctx, c) })
}

func watchNode(ctx context.Context, _ *config.Config) error { return liveness.Watch(ctx, node.Ask) }

func watchContainerd(ctx context.Context, c *config.Config) error {
	return liveness.Watch(ctx, func(ctx context.Context) error { return container.Ask(ctx, c) })
}

// Run runs a server or an agent until ctx ends or its first part fails.
func Run(ctx context.Context, c *config.Config, supervisor *notify.Supervisor) error {
	err := run(ctx, c, supervisor)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func run(ctx context.Context, c *config.Config, supervisor *notify.Supervisor) error {
	process.SaveMemory(ctx)
	if err := waitForClock(ctx, time.Now, supervisor.Status); err != nil {
		return err
	}
	if err := hostcheck.Refuse(hostcheck.Host{}.Check(ctx, Needs(c))); err != nil {
		return fmt.Errorf("this machine cannot be a cluster %s (`skerry check-config` shows all checks):\n%w", c.Role, err)
	}
	if err := dataversion.Claim(c.DataDir, kube.Version()); err != nil {
		return err
	}
	if err := os.MkdirAll(c.RunDir, 0o700); err != nil {
		return err
	}
	if err := c.WaitForAddress(ctx, func() { supervisor.Status("waiting for an address") }); err != nil {
		return err
	}
	// Before anything learns of the one that it was in.
	if _, err := (&node.Node{Config: c}).LeaveOtherCluster(ctx); err != nil {
		return err
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return watchClock(ctx, func() (clock, passed time.Duration) {
			now := time.Now()
			return now.Round(0).Sub(began.Round(0)), now.Sub(began)
		})
	})
	// What hangs may not end either.
	group.Go(func() error { return supervisor.Watchdog(ctx) })
	if !c.DisableAgent {
		group.Go(func() error { return containerdPart.Run(ctx, c) })
	}
	var credentials string
	watch := watchNode
	if c.Role == config.Server {
		credentials, watch = control.AdminKubeconfig(c), watchControl
		first := &control.Control{Config: c, Address: c.NodeIP, Progress: supervisor.Status}
		group.Go(func() error { return first.Run(ctx) })
		if !c.DisableAgent {
			group.Go(func() error { return nodePart.Run(ctx, c) })
		}
	} else {
		credentials = node.NodeKubeconfig(c)
		first := &node.Node{Config: c, Progress: supervisor.Status}
		group.Go(func() error { return first.Run(ctx) })
	}
	group.Go(func() error {
		err := watch(ctx, c)
		if err != nil {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // where it hangs
		}
		return err
	})
	group.Go(func() error {
		r := readiness{config: c, credentials: credentials, node: reports{began: began}}
		if err := r.waitUntilReady(ctx, supervisor.Status); err != nil {
			return nil // ctx ended
		}
		ready := fmt.Sprintf("cluster %s Ready", c.Role)
		supervisor.Ready(ready)
		keepTelling(ctx, r.ask, ready, supervisor.Status)
		return nil
	})
	return group.Wait()
}
