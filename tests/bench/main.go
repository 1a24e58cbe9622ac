// Command bench measures Skerry and writes what it found as tables: how long
// builds take, how large images are, how long nodes boot, what a control plane
// and a whole node take. `make bench` runs it.
//
// It promises medians of several runs, and next to each figure a named
// alternative that was measured in the same run, or the budget it is held to.
// It judges nothing: no figure makes it fail. What cannot be measured here is
// named with the reason. Whether images work is left to the system tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/cache"
)

func main() {
	// A network's thread has to end with it (network.open), and the first thread
	// of a process stays.
	runtime.LockOSThread()
	os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
}

// options are the command line.
type options struct {
	runs  int
	boots int
	only  []string
	cold  bool
	idle  time.Duration
	write string
	// inNode and samples mean that this runs within a virtual machine.
	inNode, samples bool
}

func (o options) wants(part string) bool { return slices.Contains(o.only, part) }

// run is main without the process around it.
func run(stdout, stderr io.Writer, args []string) int {
	var o options
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.runs, "runs", 5, "builds, and starts of control planes and of nodes, to take the median of")
	flags.IntVar(&o.boots, "boots", 5, "boots to take the median of, of each kind")
	flags.BoolVar(&o.cold, "cold", false, "also build once with an empty cache; needs the network")
	flags.DurationVar(&o.idle, "idle", 3*time.Minute, "how long to leave control planes and nodes beside others alone, and then to watch them idle; in the part idle nodes are left alone for three times that, servers 12m at least, and watched for ten times that")
	flags.StringVar(&o.write, "write", "", "file to write the tables to (default: standard output); parts in it that are not measured stay")
	flags.BoolVar(&o.inNode, "in-node", false, "what the part node has its virtual machine do")
	flags.BoolVar(&o.samples, "samples", false, "what the part idle has its virtual machines do")
	only := flags.String("only", strings.Join(names, ","), "parts to measure, separated by commas")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	o.only = strings.Split(*only, ",")
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			fmt.Fprintf(stderr, "bench: -only %s: there is no such part: choose from %s\n", name, strings.Join(names, ", "))
			return 2
		}
	}
	if o.runs < 1 || o.boots < 1 || o.idle < time.Second || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "bench: -runs and -boots are at least 1, -idle is at least 1s, and there are no arguments")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.inNode {
		return serve(ctx, stderr, startInside)
	}
	if o.samples {
		return serve(ctx, stderr, takeSamples)
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// measure measures, and writes what it has even if a part fails.
func measure(ctx context.Context, o options, stdout, log io.Writer) error {
	measured, err := bench(ctx, o, log)
	switch {
	case len(measured) == 0:
		return err
	case o.write == "":
		_, writeErr := io.WriteString(stdout, measured.String())
		return errors.Join(err, writeErr)
	}
	return errors.Join(err, renew(o.write, measured))
}

// renew writes a page. Of one that is there already what was not measured stays.
func renew(name string, measured document) error {
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := parseDocument(string(old))
	maps.Copy(all, measured)
	return os.WriteFile(name, []byte(all.String()), 0o644)
}

// parts are what can be measured, in the order of the page.
var parts = []struct {
	name string
	run  func(context.Context, *session) error
}{
	{"build", measureBuilds},
	{"size", measureSizes},
	{"boot", measureBoots},
	{"flash", measureFlash},
	{"cluster", measureCluster},
	{"node", measureNodes},
	{"idle", measureIdle},
}

// session is one run of the benchmark: what its parts share.
type session struct {
	options
	page    *page // of the part that is measured
	log     io.Writer
	source  string // root folder of the repository
	builder string // the builder's program
	cache   string // the user's cache
	work    string // for everything else; removed at the end
}

func (s *session) logf(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

// bench measures the parts that are wanted. With an error it returns those that
// it has.
func bench(ctx context.Context, o options, log io.Writer) (_ document, err error) {
	s := &session{options: o, log: log}
	if s.source, err = builder.FindSource("."); err != nil {
		return nil, err
	}
	if s.cache, err = cache.DefaultDir(); err != nil {
		return nil, err
	}
	if s.work, err = os.MkdirTemp("", "skerry-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.work)
	s.builder = filepath.Join(s.work, "builder")
	if _, err := s.command(ctx, s.source, nil, "go", "build", "-trimpath", "-o", s.builder, "./cmd/builder"); err != nil {
		return nil, err
	}
	machine, err := s.machine(ctx)
	if err != nil {
		return nil, err
	}
	sources, measured := s.sources(ctx), document{}
	for _, p := range parts {
		if !o.wants(p.name) {
			continue
		}
		began := load()
		s.page = &page{}
		if err := p.run(ctx, s); err != nil {
			return measured, fmt.Errorf("measure %s: %w", p.name, err)
		}
		s.page.paragraph("Measured %s, sources %s, on %s. Load at the start: %s; at the end: %s.",
			time.Now().UTC().Format("2006-01-02 15:04 UTC"), sources, machine, began, load())
		measured[p.name] = s.page.String()
	}
	return measured, nil
}
