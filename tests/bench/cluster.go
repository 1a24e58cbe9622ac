package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/skerry-os/skerry/builder/progress"
)

const (
	// clusterBudget is that of a start.
	clusterBudget = "≤ 0.7×"
	// maxIdleRuns bounds what is spent on waiting.
	maxIdleRuns = 3
	// manyPods are what a small node is busy with.
	manyPods = 30
)

// clusterSide is what was measured of one control plane.
type clusterSide struct {
	first, again []startTimes
	one, many    []idleFigures // with one Pod, with manyPods
}

// clusterFigures are what the part cluster measures.
type clusterFigures struct {
	skerry, stock    clusterSide
	kubernetes, etcd string // versions
	idle             time.Duration
	ownNetwork       bool

	// Sizes in bytes: of skerry, of the stock control plane, and of that with
	// the programs of a node.
	skerryBytes, controlBytes, nodeBytes int64
}

// measureCluster compares the control plane in one process with the components
// as processes of their own. They take turns at the same data folder's disk.
func measureCluster(ctx context.Context, s *session) error {
	programs, err := s.buildClusterPrograms(ctx)
	if err != nil {
		return err
	}
	m := clusterFigures{kubernetes: programs.kubernetes, etcd: programs.etcd, idle: s.idle}
	for _, size := range []struct {
		into  *int64
		files []string
	}{{&m.skerryBytes, []string{programs.skerry}}, {&m.controlBytes, programs.stock[:controlPrograms]}, {&m.nodeBytes, programs.stock}} {
		if *size.into, err = fileBytes(size.files...); err != nil {
			return err
		}
	}
	// Temporary folders are in memory on many machines, caches are not.
	kept := filepath.Join(filepath.Dir(s.cache), "skerry-bench")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return err
	}
	onDisk, err := os.MkdirTemp(kept, "cluster-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(onDisk)
	inMemory, err := os.MkdirTemp("/dev/shm", "skerry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(inMemory)
	sides := []struct {
		*plane
		*clusterSide
	}{
		{&plane{name: "skerry", prepare: prepareSkerry(programs.skerry)}, &m.skerry},
		{&plane{name: "stock", prepare: prepareStock(programs.stock)}, &m.stock},
	}
	for _, side := range sides {
		side.data, side.run = filepath.Join(onDisk, side.name), filepath.Join(inMemory, side.name)
		if side.network, err = newNetwork(); err != nil {
			return err
		}
		defer side.network.close()
		m.ownNetwork = side.network.address != ""
	}
	for run := range s.runs {
		s.logf("control planes, run %d of %d", run+1, s.runs)
		for _, side := range sides {
			if err := side.startOnNothing(ctx, side.clusterSide); err != nil {
				return err
			}
		}
		for _, side := range sides {
			if err := side.startAgain(ctx, side.clusterSide); err != nil {
				return err
			}
		}
		if run < maxIdleRuns {
			s.logf("control planes, idle, run %d", run+1)
			var group errgroup.Group
			if !m.ownNetwork {
				group.SetLimit(1) // both have the same ports
			}
			for _, side := range sides {
				group.Go(func() error { return side.rest(ctx, side.clusterSide, s.idle) })
			}
			if err := group.Wait(); err != nil {
				return err
			}
		}
		slices.Reverse(sides)
	}
	m.write(s.page)
	return nil
}

// Pods of the starts.
const (
	firstPod = "first"
	laterPod = "later"
)

// manyPod is the name of one of many.
func manyPod(i int) string { return fmt.Sprintf("pod-%d", i) }

// startOnNothing measures a start with an empty data folder.
func (p *plane) startOnNothing(ctx context.Context, side *clusterSide) error {
	if err := os.RemoveAll(p.data); err != nil {
		return err
	}
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		return err
	}
	r, times, err := p.start(ctx, firstPod)
	if err != nil {
		return err
	}
	side.first = append(side.first, times)
	return r.end()
}

// startAgain measures a start with the data of an earlier one.
func (p *plane) startAgain(ctx context.Context, side *clusterSide) error {
	r, times, err := p.start(ctx, laterPod)
	if err != nil {
		return err
	}
	side.again = append(side.again, times)
	return r.end()
}

// rest measures what the control plane takes when it is idle.
func (p *plane) rest(ctx context.Context, side *clusterSide, d time.Duration) (err error) {
	r, _, err := p.start(ctx, firstPod)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	if err := r.client.deletePod(ctx, laterPod); err != nil {
		return err
	}
	one, err := r.idle(ctx, d)
	if err != nil {
		return fmt.Errorf("%s, idle: %w", p.name, err)
	}
	for i := 1; i < manyPods; i++ {
		pod := manyPod(i)
		if err := r.client.createPod(ctx, pod); err != nil {
			return err
		}
		if err := eventually(ctx, func() error { return r.client.bound(ctx, pod, standIn) }); err != nil {
			return err
		}
	}
	many, err := r.idle(ctx, d)
	if err != nil {
		return fmt.Errorf("%s, idle: %w", p.name, err)
	}
	side.one, side.many = append(side.one, one), append(side.many, many)
	return nil
}

func (m *clusterFigures) write(p *page) {
	p.heading(2, "Control planes")
	p.paragraph("`skerry server --disable-agent` beside kube-apiserver, kube-controller-manager, kube-scheduler (%s) and etcd (%s) as processes "+
		"of their own, compiled from the same modules with the same flags. The stock ones have the flags that kubeadm gives them: TLS, "+
		"leader election, etcd that flushes to the disk; but keys on P-256, which are faster than kubeadm's RSA. Their certificates are made before the clock starts; "+
		"skerry makes its own after that. skerry also encrypts Secrets, keeps an audit log and applies its addons, but for metrics-server, which no kubelet would run here. "+
		"Starts of each kind: %d, in turns, data on the same disk.", m.kubernetes, m.etcd, len(m.skerry.first))
	p.paragraph("No kubelet runs. A Node object stands in for one: the benchmark makes it as soon as the API server is ready, says that it is Ready, and renews its lease. " +
		"Bound is a Pod that the scheduler gave to that Node. What a kubelet does then is in \"Nodes\".")
	var t table
	t.row("from the start to", "skerry", "stock", "ratio", "budget")
	times := func(what, budget string, skerry, stock []startTimes, figure func(startTimes) time.Duration) {
		a := pick(skerry, func(t startTimes) float64 { return figure(t).Seconds() })
		b := pick(stock, func(t startTimes) float64 { return figure(t).Seconds() })
		t.row(what, seconds(a), seconds(b), ratio(median(a), median(b)), budget)
	}
	for _, kind := range []struct {
		name          string
		skerry, stock []startTimes
	}{{"no data", m.skerry.first, m.stock.first}, {"data of before", m.skerry.again, m.stock.again}} {
		times("ready, "+kind.name, clusterBudget, kind.skerry, kind.stock, func(t startTimes) time.Duration { return t.ready })
		times("default ServiceAccount, "+kind.name, clusterBudget, kind.skerry, kind.stock, func(t startTimes) time.Duration { return t.account })
		times("Pod bound, "+kind.name, clusterBudget, kind.skerry, kind.stock, func(t startTimes) time.Duration { return t.bound })
		times("– processor time until then, "+kind.name, "", kind.skerry, kind.stock, func(t startTimes) time.Duration { return t.cpu })
	}
	t.write(p)
	if n := restarts(m.stock) + restarts(m.skerry); n > 0 {
		p.paragraph("Components that did not find the API server in time ended and were started again after a second: skerry %d times, stock %d times in all starts.",
			restarts(m.skerry), restarts(m.stock))
	}

	p.paragraph("Idle, after a start with data: left alone for %v and then watched for as long; times measured: %d. Memory is the sum over the processes, "+
		"written is what they gave to file systems on disks (write_bytes in /proc/PID/io); logs and what a boot may lose are in memory.", m.idle, len(m.skerry.one))
	t = nil
	t.row("idle", "skerry", "stock", "ratio")
	idle := func(what string, skerry, stock []idleFigures, figure func(idleFigures) float64, show func([]float64) string) {
		a, b := pick(skerry, figure), pick(stock, figure)
		t.row(what, show(a), show(b), ratio(median(a), median(b)))
	}
	for _, kind := range []struct {
		name          string
		skerry, stock []idleFigures
	}{{"1 Pod", m.skerry.one, m.stock.one}, {fmt.Sprintf("%d Pods", manyPods), m.skerry.many, m.stock.many}} {
		idle("RSS, "+kind.name, kind.skerry, kind.stock, func(f idleFigures) float64 { return f.rss }, inMiB)
		idle("PSS, "+kind.name, kind.skerry, kind.stock, func(f idleFigures) float64 { return f.pss }, inMiB)
		idle("processor time a minute, "+kind.name, kind.skerry, kind.stock, func(f idleFigures) float64 { return f.cpu }, seconds)
		idle("written a minute, "+kind.name, kind.skerry, kind.stock, func(f idleFigures) float64 { return f.written }, inKiB)
	}
	t.write(p)

	t = nil
	t.row("programs on disk", "skerry", "stock", "ratio")
	for _, size := range []struct {
		what  string
		stock int64
	}{{"control plane", m.controlBytes}, {"with kubelet, kube-proxy and containerd", m.nodeBytes}} {
		t.row(size.what, progress.Size(m.skerryBytes), progress.Size(size.stock), ratio(float64(m.skerryBytes), float64(size.stock)))
	}
	t.write(p)
	p.paragraph("skerry is one file, the same in both rows: it has flannel, kubectl, ctr, CoreDNS and metrics-server in it as well.")
}

func restarts(side clusterSide) (n int) {
	for _, t := range slices.Concat(side.first, side.again) {
		n += t.restarts
	}
	return n
}
