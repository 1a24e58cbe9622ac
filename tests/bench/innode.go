package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Where the machine of part node has what it needs.
const (
	innerFolder = "/usr/lib/skerry-bench" // programs, innerImages and this program itself
	innerImages = "pause.tar"
	innerData   = "/var/lib/skerry-bench"
	innerRun    = "/run/skerry-bench"
	// innerOrder tells what to do. The node config brings it.
	innerOrder = "/etc/skerry-bench"
	// innerMark is what a line with a result begins with.
	innerMark = "bench: "
)

// The sides that are compared.
const (
	skerrySide = "skerry"
	stockSide  = "stock"
)

// order is what a machine is to do.
type order struct {
	// Side is what to start.
	Side string `json:"side"`
	// Idle is how long to leave it alone, and how long to watch it then, after a
	// start with data.
	Idle time.Duration `json:"idle"`
}

// innerResult is what the program in the machine says, as a line of JSON each.
type innerResult struct {
	Times nodeTimes `json:"times"`
	// Idle are with one Pod and with manyPods. They come after the times of a
	// start with data, in a line of their own.
	Idle  []nodeIdle `json:"idle,omitempty"`
	Error string     `json:"error,omitempty"`
}

// tell writes a line to the machine's console.
func (r innerResult) tell(console io.Writer, err error) error {
	if err != nil {
		r.Error = err.Error()
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(console, "\n%s%s\n", innerMark, line)
	return err
}

// serve is what this program does as a service of a machine: what it has to tell
// goes to the machine's console.
func serve(ctx context.Context, stderr io.Writer, service func(ctx context.Context, console io.Writer) error) int {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err == nil {
		err = errors.Join(service(ctx, console), console.Close())
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// startInside starts one side on the machine that this program runs on, tells
// on its console how long that took and what it takes when it is idle, and
// leaves it running until ctx ends.
func startInside(ctx context.Context, console io.Writer) error {
	var o order
	contents, err := os.ReadFile(innerOrder)
	if err == nil {
		err = json.Unmarshal(contents, &o)
	}
	var p *plane
	if err == nil {
		p, err = insidePlane(ctx, o.Side)
	}
	if err != nil {
		return innerResult{}.tell(console, err)
	}
	defer p.network.close()
	again := true
	if _, err := os.Stat(p.data); errors.Is(err, fs.ErrNotExist) {
		again = false
	}
	r, times, err := p.startInside(ctx, again)
	told := innerResult{Times: times.nodeTimes()}.tell(console, err)
	if err == nil && told == nil && again {
		var idle []nodeIdle
		idle, err = r.idleNode(ctx, o.Idle)
		told = innerResult{Idle: idle}.tell(console, err)
	}
	<-ctx.Done()
	if r != nil {
		told = errors.Join(told, r.end())
	}
	return told
}

// insidePlane is the side that the machine is to start.
func insidePlane(ctx context.Context, side string) (*plane, error) {
	p := &plane{name: side, data: innerData, run: innerRun, node: benchNode}
	file := func(name string) string { return filepath.Join(innerFolder, name) }
	const skerry = "/usr/bin/skerry"
	switch p.name {
	case skerrySide:
		p.prepare = prepareSkerry(skerry)
	case stockSide:
		var paths []string
		for _, program := range stockPrograms {
			paths = append(paths, file(program.name))
		}
		p.prepare = prepareStockNode(paths, skerry, file(innerImages))
	default:
		return nil, fmt.Errorf("%s: there is no side %q", innerOrder, p.name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startDeadline, errors.New("the machine gets no address"))
	defer cancel()
	var address string
	if err := eventually(ctx, func() (err error) { address, err = ownGlobalAddress(); return err }); err != nil {
		return nil, err
	}
	p.network = sharedNetwork(address)
	return p, nil
}

// startInside starts the side, with data of before or without. Its error holds
// the ends of all logs: nobody sees them else.
func (p *plane) startInside(ctx context.Context, again bool) (*running, startTimes, error) {
	pod := firstPod
	if again {
		pod = laterPod
	}
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		return nil, startTimes{}, err
	}
	r, times, err := p.start(ctx, pod)
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(p.run, "*.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			err = fmt.Errorf("%w\n%s: %s", err, filepath.Base(log), lastLines(string(text), 4))
		}
	}
	return r, times, err
}

// nodeIdle is what a machine takes with a node that nobody asks for anything.
type nodeIdle struct {
	PSS     float64 `json:"pss"`     // bytes, but for process 1 and this program
	CPU     float64 `json:"cpu"`     // seconds a minute
	Written float64 `json:"written"` // bytes a minute
}

// idleNode measures a node that has run both Pods of the starts, with one Pod and
// then with manyPods.
func (r *running) idleNode(ctx context.Context, d time.Duration) (idle []nodeIdle, err error) {
	if err := r.client.deletePod(ctx, firstPod); err != nil {
		return nil, err
	}
	one, err := r.watchMachine(ctx, d, d)
	if err != nil {
		return nil, err
	}
	for i := 1; i < manyPods; i++ {
		if err := r.client.createPod(ctx, manyPod(i)); err != nil {
			return nil, err
		}
	}
	start, cancel := context.WithTimeoutCause(ctx, startDeadline, fmt.Errorf("%d Pods do not run", manyPods))
	defer cancel()
	for i := 1; i < manyPods; i++ {
		if err := eventually(start, func() error { return r.client.podRuns(start, manyPod(i)) }); err != nil {
			return nil, err
		}
	}
	many, err := r.watchMachine(ctx, manyPodsSettle*d, d)
	return []nodeIdle{one, many}, err
}

// manyPodsSettle is for how much longer than with one Pod a node is left alone
// with manyPods: a minute after the last one began to run, an emulated machine
// was as busy as before.
const manyPodsSettle = 5

// watchMachine leaves the machine alone for a time, and then watches it.
func (r *running) watchMachine(ctx context.Context, alone, d time.Duration) (idle nodeIdle, err error) {
	if err := sleep(ctx, alone); err != nil {
		return idle, err
	}
	restarts, began := r.restarts(), time.Now()
	cpu, written, err := machineCounters("/proc", nodeDisk)
	if err != nil {
		return idle, err
	}
	if err := sleep(ctx, d); err != nil {
		return idle, err
	}
	took := time.Since(began)
	after, err := takeSample("/proc", nodeDisk, "")
	if err != nil {
		return idle, err
	}
	if r.restarts() != restarts {
		return idle, errors.New("a process ended while nobody asked it for anything")
	}
	return idleSince(cpu, written, after, took), nil
}

// idleSince is what a machine took in a time, out of its counters before it and
// what there is after it.
func idleSince(cpu time.Duration, written float64, after sample, took time.Duration) (idle nodeIdle) {
	for name, pss := range after.PSS {
		if name != "init" && name != "bench" {
			idle.PSS += pss
		}
	}
	idle.CPU = (after.CPU - cpu).Seconds() / took.Minutes()
	idle.Written = (after.Written - written) / took.Minutes()
	return idle
}

// ownGlobalAddress is the machine's address in the network that it is in.
func ownGlobalAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", fmt.Errorf("no address among %v", addresses)
}
