package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Where the machine of part node has what it needs.
const (
	innerFolder = "/usr/lib/skerry-bench" // programs, innerImages and this program itself
	innerImages = "pause.tar"
	innerData   = "/var/lib/skerry-bench"
	innerRun    = "/run/skerry-bench"
	// innerSide names the side to start. The node config brings it.
	innerSide = "/etc/skerry-bench"
	// innerMark is what the line with the times begins with.
	innerMark = "bench: "
)

// The sides that are compared.
const (
	skerrySide = "skerry"
	stockSide  = "stock"
)

// innerResult is what the program in the machine says, as one line of JSON.
type innerResult struct {
	Times nodeTimes `json:"times"`
	Error string    `json:"error,omitempty"`
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
// on its console how long that took, and leaves it running until ctx ends.
func startInside(ctx context.Context, console io.Writer) error {
	var r *running
	var times startTimes
	p, err := insidePlane(ctx)
	if err == nil {
		defer p.network.close()
		r, times, err = p.startInside(ctx)
	}
	result := innerResult{Times: times.nodeTimes()}
	if err != nil {
		result.Error = err.Error()
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	fmt.Fprintf(console, "\n%s%s\n", innerMark, line)
	<-ctx.Done()
	if r == nil {
		return nil
	}
	return r.end()
}

// insidePlane is the side that the machine is to start.
func insidePlane(ctx context.Context) (*plane, error) {
	side, err := os.ReadFile(innerSide)
	if err != nil {
		return nil, err
	}
	p := &plane{name: strings.TrimSpace(string(side)), data: innerData, run: innerRun, node: benchNode}
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
		return nil, fmt.Errorf("%s: there is no side %q", innerSide, p.name)
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

// startInside starts the side, with the data of before if there are any. Its
// error holds the ends of all logs: nobody sees them else.
func (p *plane) startInside(ctx context.Context) (*running, startTimes, error) {
	pod := firstPod
	if _, err := os.Stat(p.data); err == nil {
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
