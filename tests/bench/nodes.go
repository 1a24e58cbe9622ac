package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/skerry-os/skerry/builder/containerimage/layouttest"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/tests/machine"
)

const (
	nodeBoard = "x86_64"
	// nodeMemory is in MiB. The stock components need more than skerry.
	nodeMemory = 3072
	// maxNodeRuns bounds what is spent on an hour each.
	maxNodeRuns = 3
	// nodeDeadline is for a machine that says nothing of what hangs.
	nodeDeadline = 3 * startDeadline
	stripped     = "-ldflags=-s -w"
	// benchOverlay is the cluster's with another service: this program.
	benchOverlay = "bench"
)

// nodeTimes are those of a start with a kubelet.
type nodeTimes struct {
	Ready   time.Duration `json:"ready"` // the API server
	Account time.Duration `json:"account"`
	Node    time.Duration `json:"node"`
	Running time.Duration `json:"running"`
	// Restarts are as in startTimes.
	Restarts int `json:"restarts"`
}

func (t startTimes) nodeTimes() nodeTimes {
	return nodeTimes{t.ready, t.account, t.node, t.running, t.restarts}
}

// nodeSide is what was measured of one side.
type nodeSide struct {
	name         string
	first, again []nodeTimes
	one, many    []nodeIdle // with one Pod, with manyPods
}

// nodeFigures are what the part node measures.
type nodeFigures struct {
	skerry, stock nodeSide
	idle          time.Duration
}

// measureNodes compares whole nodes: control plane, containerd, kubelet and
// kube-proxy in a virtual machine. Each side starts on a disk without data, and
// then, after power off, once more on the same disk; then it is left alone, with
// one Pod and with many.
func measureNodes(ctx context.Context, s *session) error {
	b, err := s.buildNode(ctx)
	if err != nil {
		return err
	}
	m := nodeFigures{skerry: nodeSide{name: skerrySide}, stock: nodeSide{name: stockSide}, idle: s.idle}
	sides := []*nodeSide{&m.skerry, &m.stock}
	runs := min(s.runs, maxNodeRuns)
	for run := range runs {
		for _, side := range sides {
			s.logf("nodes, run %d of %d, %s", run+1, runs, side.name)
			if err := s.startNode(ctx, b, side); err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
		}
		slices.Reverse(sides)
	}
	m.write(s.page)
	return nil
}

// buildNode makes an image that has the programs of both sides, and as a
// service this program.
func (s *session) buildNode(ctx context.Context) (b built, err error) {
	programs, err := s.buildClusterPrograms(ctx)
	if err != nil {
		return b, err
	}
	w, err := s.prepare(ctx)
	if err != nil {
		return b, err
	}
	overlays := filepath.Join(w.sources, "overlays")
	overlay := filepath.Join(overlays, benchOverlay)
	if err := os.CopyFS(overlay, os.DirFS(filepath.Join(overlays, "cluster"))); err != nil {
		return b, err
	}
	services := filepath.Join(overlay, "root", "usr", "lib", "skerry", "services")
	if err := os.RemoveAll(services); err != nil {
		return b, err
	}
	inner := filepath.Join(overlay, "root", innerFolder)
	for _, dir := range []string{services, inner} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return b, err
		}
	}
	if err := os.WriteFile(filepath.Join(services, "bench.yaml"), fmt.Appendf(nil,
		"name: bench\ncommand: [%s/bench, -in-node]\nrestart: never\nstopTimeout: 2m\n", innerFolder), 0o644); err != nil {
		return b, err
	}
	for _, program := range programs.stock {
		to := filepath.Join(inner, filepath.Base(program))
		if err := errors.Join(disk.Copy(ctx, to, program), os.Chmod(to, 0o755)); err != nil {
			return b, err
		}
	}
	if err := s.compile(ctx, filepath.Join(inner, "bench"), "./tests/bench", stripped); err != nil {
		return b, err
	}
	pause := filepath.Join(s.work, "pause")
	if err := s.compile(ctx, pause, "./images/pause", stripped); err != nil {
		return b, err
	}
	if err := writeArchive(filepath.Join(inner, innerImages), filepath.Join(s.work, "pause-layout"), pause); err != nil {
		return b, err
	}
	return w.build(ctx, nodeBoard, filepath.Join(s.work, "node"), append(slices.Clone(withoutCluster), "--overlay", benchOverlay)...)
}

// writeArchive makes an archive with the image of the Pod.
func writeArchive(name, layout, program string) error {
	contents, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := layouttest.Write(layout, podImage, "amd64", contents); err != nil {
		return err
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	return errors.Join(archive.AddFS(os.DirFS(layout)), archive.Close(), file.Close())
}

// startNode adds a start without data and one with them to what is known of a
// side, and what it takes when it is idle.
func (s *session) startNode(ctx context.Context, b built, side *nodeSide) error {
	todo, err := json.Marshal(order{side.name, s.idle})
	if err != nil {
		return err
	}
	options, remove, err := s.newMachine(ctx, b, nodeMemory, fmt.Sprintf("files:\n- {path: %s, content: '%s'}\n", innerOrder, todo))
	if err != nil {
		return err
	}
	defer remove()
	err = runMachine(ctx, options, func(console *machine.Console) error {
		first, err := nextResult(console, nodeDeadline)
		if err == nil {
			side.first = append(side.first, first.Times)
		}
		return err
	})
	if err != nil {
		return err
	}
	return runMachine(ctx, options, func(console *machine.Console) error {
		again, err := nextResult(console, nodeDeadline)
		if err != nil {
			return err
		}
		idle, err := nextResult(console, nodeDeadline+(1+manyPodsSettle+2)*s.idle)
		if err == nil && len(idle.Idle) != 2 {
			err = fmt.Errorf("measured idle %d times", len(idle.Idle))
		}
		if err != nil {
			return fmt.Errorf("idle: %w", err)
		}
		side.again = append(side.again, again.Times)
		side.one, side.many = append(side.one, idle.Idle[0]), append(side.many, idle.Idle[1])
		return nil
	})
}

// nextResult waits for what the program in a machine says.
func nextResult(console *machine.Console, deadline time.Duration) (result innerResult, err error) {
	groups, err := console.Expect("^"+innerMark+"(.*)$", deadline)
	if err != nil {
		return result, err
	}
	if err := json.Unmarshal([]byte(groups[1]), &result); err != nil {
		return result, err
	}
	if result.Error != "" {
		err = errors.New(result.Error)
	}
	return result, err
}

func (m *nodeFigures) write(p *page) {
	p.heading(2, "Nodes")
	p.paragraph("A server with its own node in a virtual machine of 2 processors and %d MiB: `skerry server` beside the components as processes of their own, which are the control plane of "+
		"\"Control planes\" and kubelet, kube-proxy (nftables) and containerd. Both are in the same image, with their data on an emulated disk, and start when the machine's network is up; the second start is "+
		"after power off. A Pod is made as soon as the API server takes one. Starts of each kind: %d.", nodeMemory, len(m.skerry.first))
	p.paragraph("skerry's batteries (CoreDNS, local storage, metrics-server, network policies, load balancer) are switched off, for the stock side has nothing like them. " +
		"Against skerry counts that it makes its keys, certificates, settings and the network after the clock started. For the stock side counts that its certificates and settings, the image of the Pod and the network (CNI's bridge) are made before, that containerd ran once before the first start, and that " +
		"controller manager, scheduler, kubelet and kube-proxy start when the API server is ready: before that some would end or pause for long, and on so slow a machine the API server would end too, because what they take of the processors makes its roles late. What kubeadm does, where the kubelet starts the control plane as Pods, is not measured. " +
		"Against the stock side counts that seven programs are read from the image, which is compressed and verified, and not one.")
	var t table
	t.row("from the start to", "skerry", "stock", "ratio", "budget")
	for _, kind := range []struct {
		name          string
		skerry, stock []nodeTimes
	}{{"no data", m.skerry.first, m.stock.first}, {"data of before", m.skerry.again, m.stock.again}} {
		for _, figure := range []struct {
			name, budget string
			of           func(nodeTimes) time.Duration
		}{
			{"API server ready", "", func(t nodeTimes) time.Duration { return t.Ready }},
			{"default ServiceAccount", "", func(t nodeTimes) time.Duration { return t.Account }},
			{"Ready node", clusterBudget, func(t nodeTimes) time.Duration { return t.Node }},
			{"first Pod runs", clusterBudget, func(t nodeTimes) time.Duration { return t.Running }},
		} {
			a := pick(kind.skerry, func(t nodeTimes) float64 { return figure.of(t).Seconds() })
			b := pick(kind.stock, func(t nodeTimes) float64 { return figure.of(t).Seconds() })
			t.row(figure.name+", "+kind.name, seconds(a), seconds(b), ratio(median(a), median(b)), figure.budget)
		}
	}
	t.write(p)
	for _, side := range []nodeSide{m.skerry, m.stock} {
		n := 0
		for _, start := range slices.Concat(side.first, side.again) {
			n += start.Restarts
		}
		if n > 0 {
			p.paragraph("Of %s, processes ended and were started again after a second %d times in all starts.", side.name, n)
		}
	}

	p.paragraph("Idle, after the second start: left alone for %v, with %d Pods for %v, and then watched for %[1]v; times measured: %[4]d. Memory is the sum of the processes' proportional sets, but for process 1 and the program that measures. Processor time is all of the machine's, written is what its disk was given. "+
		"All have the Pods and their shims in them, which are the same on both sides.", m.idle, manyPods, manyPodsSettle*m.idle, len(m.skerry.one))
	t = nil
	t.row("idle", "skerry", "stock", "ratio")
	for _, kind := range []struct {
		name          string
		skerry, stock []nodeIdle
	}{{"1 Pod", m.skerry.one, m.stock.one}, {fmt.Sprintf("%d Pods", manyPods), m.skerry.many, m.stock.many}} {
		for _, figure := range []struct {
			name string
			of   func(nodeIdle) float64
			show func([]float64) string
		}{
			{"PSS", func(i nodeIdle) float64 { return i.PSS }, inMiB},
			{"processor time a minute", func(i nodeIdle) float64 { return i.CPU }, seconds},
			{"written a minute", func(i nodeIdle) float64 { return i.Written }, inKiB},
		} {
			a, b := pick(kind.skerry, figure.of), pick(kind.stock, figure.of)
			t.row(figure.name+", "+kind.name, figure.show(a), figure.show(b), ratio(median(a), median(b)))
		}
	}
	t.write(p)
}
