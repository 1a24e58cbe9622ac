package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// plane is one of the control planes that are compared.
type plane struct {
	name    string
	network *network
	data    string // folder on a disk
	run     string // folder in memory; empty at each start, as after a boot
	// node is the Node of a kubelet that is among the programs. If it is empty
	// there is none, and this program stands in for it.
	node string
	// prepare makes what has to be there before a start, and returns the
	// programs in the order of their start.
	prepare func(context.Context, *plane) ([]program, error)
	answers atomic.Bool // since the last start, /readyz said ok
}

// kubeconfig is the file with all rights.
func (p *plane) kubeconfig() string { return filepath.Join(p.run, "admin.kubeconfig") }

// prepareSkerry writes nothing: skerry makes all it needs itself.
func prepareSkerry(path string) func(context.Context, *plane) ([]program, error) {
	return func(_ context.Context, p *plane) ([]program, error) {
		settings := filepath.Join(p.run, "config.yaml") // not the machine's own
		args := []string{
			"server", "--config", settings, "--node-name", benchNode, "--data-dir", p.data, "--run-dir", filepath.Join(p.run, "run"),
			"--write-kubeconfig", p.kubeconfig(),
		}
		if p.node == "" {
			args = append(args, "--disable-agent", "--disable", "metrics-server")
		} else {
			args = append(args, "--disable", batteries)
		}
		if p.network.address != "" {
			args = append(args, "--node-ip", p.network.address)
		}
		return []program{{path: path, args: args}}, os.WriteFile(settings, nil, 0o600)
	}
}

// batteries are what skerry brings along and the stock components do not.
const batteries = "coredns,local-storage,metrics-server,network-policy,servicelb"

// benchNode is the name of the machine in the cluster.
const benchNode = "bench"

// startDeadline is for a control plane that hangs, not for a slow one.
const startDeadline = 15 * time.Minute

// startTimes are the times from the start of the programs.
type startTimes struct {
	ready   time.Duration // /readyz says ok
	account time.Duration // namespace default has its ServiceAccount
	node    time.Duration // the kubelet said that its Node is Ready
	bound   time.Duration // a Pod has a Node
	running time.Duration // the kubelet said that the Pod runs
	cpu     time.Duration // what the processes used until then
	// restarts are processes that ended by themselves and were started again.
	restarts int
}

// running is a control plane that has bound a Pod, and runs it if it can.
type running struct {
	*supervised
	client *client
	rest   func() // ends the heartbeats
}

// start starts a control plane, waits until a Pod with the given name is
// bound, and runs if there is a kubelet, and tells how long that took.
func (p *plane) start(ctx context.Context, pod string) (_ *running, t startTimes, err error) {
	if err := os.RemoveAll(p.run); err != nil {
		return nil, t, err
	}
	if err := os.MkdirAll(p.run, 0o700); err != nil {
		return nil, t, err
	}
	p.answers.Store(false)
	programs, err := p.prepare(ctx, p)
	if err != nil {
		return nil, t, err
	}
	started := time.Now()
	processes, err := supervise(p.network, p.run, programs)
	if err != nil {
		return nil, t, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &running{supervised: processes, rest: func() { cancel(nil) }}
	wait, done := context.WithTimeoutCause(ctx, startDeadline, errors.New("the control plane hangs"))
	defer done()
	go func() {
		select {
		case err := <-processes.failed:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	if err := r.observe(ctx, wait, p, pod, started, &t); err != nil {
		return nil, t, errors.Join(fmt.Errorf("%s: %w", p.name, err), r.end())
	}
	t.restarts = r.restarts()
	if t.cpu, err = r.cpu(); err != nil {
		return nil, t, errors.Join(err, r.end())
	}
	return r, t, nil
}

// startStep is a part of a start.
type startStep struct {
	what string
	done func() error   // tells, with an error, that it has not happened yet
	took *time.Duration // from the start; nil if nobody wants to know
}

// observe notes when what a start consists of happens. Heartbeats go on until
// life ends, waiting does until wait ends.
func (r *running) observe(life, wait context.Context, p *plane, pod string, started time.Time, t *startTimes) error {
	follow := func(wait context.Context, steps ...startStep) error {
		for _, step := range steps {
			if err := eventually(wait, step.done); err != nil {
				return fmt.Errorf("wait for it to %s: %w", step.what, err)
			}
			if step.took != nil {
				*step.took = time.Since(started)
			}
		}
		return nil
	}
	ready := func() (err error) {
		if r.client == nil {
			if r.client, err = newClient(p.network, p.kubeconfig()); err != nil {
				return err
			}
		}
		return r.client.get(wait, "/readyz", nil)
	}
	if err := follow(wait, startStep{"answer", ready, &t.ready}); err != nil {
		return err
	}
	p.answers.Store(true)
	account := func() error { return r.client.get(wait, "/api/v1/namespaces/default/serviceaccounts/default", nil) }
	create := func() error { return r.client.createPod(wait, pod) }
	bound := func() error { return r.client.bound(wait, pod, cmp.Or(p.node, standIn)) }
	steps := []startStep{{"make the default ServiceAccount", account, &t.account}, {"take a Pod", create, nil}, {"bind a Pod", bound, &t.bound}}
	if p.node == "" {
		node := startStep{"have a Node", func() error { return r.standIn(life, wait) }, nil}
		return follow(wait, append([]startStep{node}, steps...)...)
	}
	group, wait := errgroup.WithContext(wait)
	group.Go(func() error {
		return follow(wait, startStep{"have a Ready Node", func() error { return r.client.nodeReady(wait, p.node, started) }, &t.node})
	})
	group.Go(func() error {
		return follow(wait, append(steps, startStep{"run a Pod", func() error { return r.client.podRuns(wait, pod) }, &t.running})...)
	})
	return group.Wait()
}

// standIn makes a Node without a kubelet, and keeps it Ready until life ends.
func (r *running) standIn(life, wait context.Context) error {
	err := r.client.register(wait)
	if err == nil {
		go r.client.beat(life)
	}
	return err
}

// end stops the control plane.
func (r *running) end() error {
	r.rest()
	return r.stop()
}

// idleFigures are what a control plane takes that nobody asks for anything.
type idleFigures struct {
	rss, pss float64 // bytes, sums over the processes
	cpu      float64 // seconds a minute
	written  float64 // bytes a minute
}

// idle leaves the control plane alone for a time, and then watches it for as
// long.
func (r *running) idle(ctx context.Context, d time.Duration) (f idleFigures, err error) {
	if err := sleep(ctx, d); err != nil {
		return f, err
	}
	pids := r.pids()
	before, err := r.consumption()
	if err != nil {
		return f, err
	}
	began := time.Now()
	if err := sleep(ctx, d); err != nil {
		return f, err
	}
	after, err := r.consumption()
	if err != nil {
		return f, err
	}
	minutes := time.Since(began).Minutes()
	if f.rss, f.pss, err = r.memory(); err != nil {
		return f, err
	}
	if !slices.Equal(pids, r.pids()) {
		return f, errors.New("a process ended while nobody asked it for anything")
	}
	f.cpu = (after.cpu - before.cpu).Seconds() / minutes
	f.written = (after.written - before.written) / minutes
	return f, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
