package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/jointoken"
	"github.com/skerry-os/skerry/tests/machine"
)

const (
	serverMemoryBudget = 400.0 * (1 << 20)
	agentMemoryBudget  = 130.0 * (1 << 20)
	writtenBudget      = 50e6
	// quietMemory is that of the machines, in MiB.
	quietMemory = 2048
	// sampleOverlay has the service that takes samples.
	sampleOverlay = "sample"
	// A node settles for longer than a control plane: containers start. Then it is
	// watched for long, for what it writes comes in lumps.
	settleTimes, watchTimes = 3, 10
	// snapshotAfter is when a server has taken its first snapshot; then it takes
	// two a day.
	snapshotAfter, snapshotsADay = 12 * time.Minute, 2
)

// Processes of `skerry server` and `skerry agent` on a node. The first is a
// server's control plane and an agent's node.
const (
	firstProcess      = "skerry run"
	nodeProcess       = "skerry run-node"
	containerdProcess = "skerry run-containerd"
)

var clusterProcesses = []string{firstProcess, nodeProcess, containerdProcess}

// quietRole is a kind of node that is watched.
type quietRole struct {
	config    string // lines of the node config's section cluster
	ready     string // what the console calls it
	processes []string
	snapshots bool // whether it takes some

	settled, watched time.Duration
}

// quietNode is what a node takes that nobody asks for anything.
type quietNode struct {
	pss     map[string]float64 // as in a sample
	written float64            // bytes a day
}

// cluster is the memory of the cluster's processes.
func (n quietNode) cluster() (sum float64) {
	for _, name := range clusterProcesses {
		sum += n.pss[name]
	}
	return sum
}

// quietFigures are what the part idle measures.
type quietFigures struct {
	server, agent         quietNode
	serverRole, agentRole quietRole
}

// measureIdle leaves nodes alone and watches them: a server with all that it
// brings along, and an agent of a server on this machine.
func measureIdle(ctx context.Context, s *session) error {
	program, err := s.buildSkerry(ctx)
	if err != nil {
		return err
	}
	b, err := s.buildSampled(ctx)
	if err != nil {
		return err
	}
	settled, watched := settleTimes*s.idle, watchTimes*s.idle
	m := quietFigures{
		serverRole: quietRole{
			config: "  role: server", ready: "cluster server Ready", processes: clusterProcesses,
			snapshots: true, settled: max(settled, snapshotAfter), watched: watched,
		},
		agentRole: quietRole{
			ready: "cluster agent Ready", processes: []string{firstProcess, containerdProcess}, settled: settled, watched: watched,
		},
	}
	s.logf("idle, server")
	if m.server, err = s.watchNode(ctx, b, m.serverRole); err != nil {
		return fmt.Errorf("idle server: %w", err)
	}
	s.logf("idle, agent")
	err = s.serveAgents(ctx, program, func(token string) error {
		m.agentRole.config = fmt.Sprintf("  role: agent\n  join: https://%s:6443\n  token: %s", machine.HostAddress, token)
		m.agent, err = s.watchNode(ctx, b, m.agentRole)
		return err
	})
	if err != nil {
		return fmt.Errorf("idle agent: %w", err)
	}
	m.write(s.page)
	return nil
}

// buildSampled makes an image as everybody has it, but for a service that takes
// samples.
func (s *session) buildSampled(ctx context.Context) (b built, err error) {
	w, err := s.prepare(ctx)
	if err != nil {
		return b, err
	}
	overlay := filepath.Join(w.sources, "overlays", sampleOverlay)
	services := filepath.Join(overlay, "root", "usr", "lib", "skerry", "services")
	if err := os.MkdirAll(services, 0o755); err != nil {
		return b, err
	}
	for name, text := range map[string]string{
		filepath.Join(overlay, "overlay.yaml"): "description: Takes samples\ngo:\n- {package: ./tests/bench, file: " + innerFolder + "/bench}\n",
		filepath.Join(services, "sample.yaml"): "name: sample\ncommand: [" + innerFolder + "/bench, -samples]\nrestart: never\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return b, err
		}
	}
	return w.build(ctx, nodeBoard, filepath.Join(s.work, "idle"), "--overlay", sampleOverlay)
}

// watchNode boots a node on a new disk, and watches it once its console calls it
// Ready.
func (s *session) watchNode(ctx context.Context, b built, role quietRole) (n quietNode, err error) {
	options, remove, err := s.newMachine(ctx, b, quietMemory, "hostname: idle\ncluster:\n"+role.config+"\n")
	if err != nil {
		return n, err
	}
	defer remove()
	err = runMachine(ctx, options, func(console *machine.Console) error {
		n, err = watch(console, role)
		return err
	})
	return n, err
}

// watch reads the samples that a node takes.
func watch(console *machine.Console, role quietRole) (n quietNode, err error) {
	if _, err := console.Expect(`^skerry: node up: .*: `+role.ready+`$`, nodeDeadline); err != nil {
		return n, err
	}
	ready, err := sampleAfter(console, 0)
	if err != nil {
		return n, err
	}
	first, err := sampleAfter(console, ready.Age+role.settled)
	if err != nil {
		return n, err
	}
	last, err := sampleAfter(console, first.Age+role.watched)
	if err != nil {
		return n, err
	}
	for _, name := range role.processes {
		if last.PSS[name] == 0 {
			return n, fmt.Errorf("no %q runs", name)
		}
	}
	if role.snapshots != (first.Snapshots > 0) || first.Snapshots != last.Snapshots {
		return n, fmt.Errorf("snapshots have %.0f bytes after %v, and %.0f after %v", first.Snapshots, first.Age, last.Snapshots, last.Age)
	}
	written := (last.Written - first.Written) / (last.Age - first.Age).Hours() * 24
	return quietNode{last.PSS, written + snapshotsADay*last.Snapshots}, nil
}

// sampleAfter waits for a sample of an age, or the first that is older.
func sampleAfter(console *machine.Console, age time.Duration) (sample, error) {
	for {
		groups, err := console.Expect("^"+sampleMark+"(.*)$", bootDeadline)
		if err != nil {
			return sample{}, err
		}
		var s sample
		if err := json.Unmarshal([]byte(groups[1]), &s); err != nil {
			return s, err
		}
		if s.Error != "" {
			return s, errors.New(s.Error)
		}
		if s.Age >= age {
			return s, nil
		}
	}
}

// serveAgents runs a control plane on this machine, which guests can join, while
// it calls use with a token for agents.
func (s *session) serveAgents(ctx context.Context, skerry string, use func(token string) error) (err error) {
	dir, err := os.MkdirTemp(s.work, "server-")
	if err != nil {
		return err
	}
	data, settings, kubeconfig := filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml"), filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(settings, nil, 0o600); err != nil { // not the machine's own
		return err
	}
	n := sharedNetwork(machine.HostAddress)
	defer n.close()
	server, err := supervise(n, dir, []program{{path: skerry, args: []string{
		"server", "--config", settings, "--disable-agent", "--node-ip", machine.HostAddress,
		"--data-dir", data, "--run-dir", filepath.Join(dir, "run"), "--write-kubeconfig", kubeconfig,
	}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	wait, done := context.WithTimeoutCause(ctx, startDeadline, errors.New("the control plane hangs"))
	defer done()
	err = eventually(wait, func() error {
		c, err := newClient(n, kubeconfig)
		if err != nil {
			return err
		}
		return c.get(wait, "/readyz", nil)
	})
	if err == nil {
		var u usage
		if u, err = s.command(ctx, dir, nil, skerry, "token", "--role", jointoken.Agent, "--data-dir", data); err == nil {
			err = use(strings.TrimSpace(u.stdout))
		}
	}
	if server.restarts() > 0 {
		text, _ := os.ReadFile(server.log(server.programs[0]))
		err = errors.Join(err, fmt.Errorf("the control plane ended: %s", lastLines(string(text), 4)))
	}
	return err
}

func (m *quietFigures) write(p *page) {
	p.heading(2, "Idle nodes")
	p.paragraph("Nodes of board %s with all that an image brings along and no Pods of a user, in a virtual machine of 2 processors and %d MiB, once each, from their first start. "+
		"When it is Ready, the server is left alone for %v, for its first snapshot to be over, and then watched for %v; the agent for %v and %v. The agent has joined a control plane on the machine that runs the virtual ones.",
		nodeBoard, quietMemory, m.serverRole.settled, m.serverRole.watched, m.agentRole.settled, m.agentRole.watched)
	p.paragraph("Memory is the proportional set (PSS) of a program's processes at the end. The cluster is the first three, of which the first is a server's control plane and an agent's node. CoreDNS and metrics-server, which run on both, are the same file, and share its pages. " +
		"Written is what the disk was given, file system and logs included, as much as in a day, with the two snapshots of a server. A service that only this measurement has reads the figures.")
	var t table
	t.row("idle", "server", "budget", "agent", "budget")
	pss := func(n quietNode, name string) string {
		if n.pss[name] == 0 {
			return "–"
		}
		return mib(n.pss[name])
	}
	for _, name := range clusterProcesses {
		t.row("`"+name+"`", pss(m.server, name), "", pss(m.agent, name), "")
	}
	t.row("the cluster", mib(m.server.cluster()), "≤ "+mib(serverMemoryBudget), mib(m.agent.cluster()), "≤ "+mib(agentMemoryBudget))
	for _, name := range m.others() {
		t.row("`"+name+"`", pss(m.server, name), "", pss(m.agent, name), "")
	}
	day := func(n quietNode) string { return fmt.Sprintf("%.1f MB", n.written/1e6) }
	t.row("written a day", day(m.server), fmt.Sprintf("≤ %.0f MB", writtenBudget/1e6), day(m.agent), "")
	t.write(p)
}

// others are the programs beside the cluster, but for the one that takes the
// samples.
func (m *quietFigures) others() (names []string) {
	for _, n := range []quietNode{m.server, m.agent} {
		for name := range n.pss {
			if name != "bench" && !slices.Contains(clusterProcesses, name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
