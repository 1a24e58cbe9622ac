package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skerry-os/skerry/agent/cgroup"
	"github.com/skerry-os/skerry/agent/logring"
)

// NotifyDir is where a node's notification sockets are.
const NotifyDir = "/run/skerry/notify"

// killedWithin is how long Stop waits for processes that were killed.
const killedWithin = 5 * time.Second

// Options are what a supervisor works with.
type Options struct {
	Log       *slog.Logger
	Ring      *logring.Ring     // takes the services' output
	Starter   Starter           // default PlainStarter
	Cgroups   *cgroup.Hierarchy // nil: no groups and no limits, as on a developer's machine
	NotifyDir string            // default NotifyDir
	// OnChange is called after each change with the new status. It must not
	// block, nor call the supervisor's Stop.
	OnChange func(Status)
}

// Supervisor runs a set of services.
type Supervisor struct {
	log      *slog.Logger
	ring     *logring.Ring
	starter  Starter
	cgroups  *cgroup.Hierarchy
	dir      string
	onChange func(Status)
	start    func(Spec) (run, error)
	// lastWords is how long a notification may take from the kernel to the queue.
	lastWords time.Duration

	runners []*runner // in the order of their specs
	byName  map[string]*runner
	sockets []*net.UnixConn
	killNow chan struct{} // closed when Stop's time is over
	stop    sync.Once

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change of a status
}

// New checks the services and their order: names that are not there and
// cycles are errors.
func New(specs []Spec, o Options) (*Supervisor, error) {
	s := &Supervisor{
		log: o.Log, ring: o.Ring, starter: o.Starter, cgroups: o.Cgroups, dir: o.NotifyDir, onChange: o.OnChange,
		byName: map[string]*runner{}, killNow: make(chan struct{}), changed: make(chan struct{}),
		lastWords: 50 * time.Millisecond,
	}
	if s.starter == nil {
		s.starter = PlainStarter{}
	}
	if s.dir == "" {
		s.dir = NotifyDir
	}
	if s.onChange == nil {
		s.onChange = func(Status) {}
	}
	s.start = s.launch
	if err := checkGraph(specs); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, spec := range specs {
		spec, err := spec.complete()
		if err != nil {
			return nil, err
		}
		r := &runner{
			spec: spec, sup: s, messages: make(chan message, 16), done: make(chan struct{}), cancel: func() {},
			status: Status{Name: spec.Name, Main: spec.Main, State: Waiting, Since: now},
		}
		s.runners = append(s.runners, r)
		s.byName[spec.Name] = r
	}
	return s, nil
}

func (s *Supervisor) socketPath(name string) string { return filepath.Join(s.dir, name) }

// Start begins to run the services and returns. It is called once. When ctx
// ends, all services are stopped without regard to order; Stop keeps it.
func (s *Supervisor) Start(ctx context.Context) error {
	for _, r := range s.runners {
		if !r.spec.Notify {
			continue
		}
		conn, err := listenNotify(s.dir, r.spec.Name)
		if err != nil {
			s.closeSockets()
			return err
		}
		s.sockets = append(s.sockets, conn)
		go receive(conn, r.messages, r.done)
	}
	for _, r := range s.runners {
		var own context.Context
		own, r.cancel = context.WithCancel(ctx)
		r.started = true
		go r.supervise(own)
	}
	return nil
}

func (s *Supervisor) closeSockets() {
	for _, c := range s.sockets {
		c.Close()
	}
}

// Stop stops the services, each after those that wait for it, and returns when
// all have ended. When ctx ends first, everything is killed at once; what is
// left after five seconds more is named in the error. Stop is for the end,
// after Start has returned: nothing starts again.
func (s *Supervisor) Stop(ctx context.Context) error {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, r := range s.runners {
			if r.started {
				<-r.done
			}
		}
	}()
	for _, r := range s.runners {
		go func() {
			for _, d := range s.dependents(r.spec.Name) {
				select {
				case <-d.done:
				case <-ctx.Done():
				case <-all:
				}
			}
			r.cancel()
		}()
	}
	var err error
	select {
	case <-all:
	case <-ctx.Done():
		s.stop.Do(func() { close(s.killNow) })
		killed := time.NewTimer(killedWithin)
		defer killed.Stop()
		select {
		case <-all:
			err = fmt.Errorf("stop services: killed, the time was over: %w", ctx.Err())
		case <-killed.C:
			var left []string
			for _, st := range s.States() {
				if !st.finished() {
					left = append(left, fmt.Sprintf("%s (%d)", st.Name, st.PID))
				}
			}
			err = fmt.Errorf("stop services: not ended after SIGKILL: %s: %w", strings.Join(left, ", "), ctx.Err())
		}
	}
	s.closeSockets()
	return err
}

// dependents returns the services that wait for the one called name.
func (s *Supervisor) dependents(name string) []*runner {
	var found []*runner
	for _, r := range s.runners {
		if r.started && slices.Contains(r.spec.waitsFor(), name) {
			found = append(found, r)
		}
	}
	return found
}

// States returns the status of all services in the order of their specs.
func (s *Supervisor) States() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, len(s.runners))
	for i, r := range s.runners {
		all[i] = r.status
	}
	return all
}

// WaitReady returns nil when all services are ready or have done their work
// and ended. It returns an error when one has failed for good, or when ctx
// ends, and then says what is not ready.
func (s *Supervisor) WaitReady(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed := s.changed
		var missing []string
		var failed error
		for _, r := range s.runners {
			st := &r.status
			switch {
			case st.State == Stopped && !r.complete:
				failed = errors.Join(failed, fmt.Errorf("service %s was stopped", st.Name))
			case st.State == Failed:
				failed = errors.Join(failed, fmt.Errorf("service %s failed: %s", st.Name, st.LastError))
			case !r.satisfied():
				text := st.Name + " is " + st.State.String()
				if st.LastError != "" {
					text += " (" + st.LastError + ")"
				}
				missing = append(missing, text)
			}
		}
		s.mu.Unlock()
		if failed != nil || len(missing) == 0 {
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for services: %s: %w", strings.Join(missing, ", "), ctx.Err())
		}
	}
}

// satisfied tells whether what waits for this service may start: it is ready,
// or it has done its work and ended.
func (r *runner) satisfied() bool { return r.status.State == Ready || r.complete }

// readiness tells what a service still waits for, and the error that makes
// waiting pointless.
func (s *Supervisor) readiness(spec Spec) (missing []string, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range spec.waitsFor() {
		other := s.byName[name]
		st := &other.status
		switch {
		case other.satisfied():
		case !st.finished():
			missing = append(missing, name)
		case slices.Contains(spec.Requires, name):
			err = errors.Join(err, fmt.Errorf("it requires %s, which is %s", name, st.State))
		}
	}
	return missing, s.changed, err
}

// update changes a runner's status. The change is visible before onChange is
// called, and a change of nothing is none.
func (s *Supervisor) update(r *runner, change func(*Status)) {
	s.mu.Lock()
	before := r.status
	change(&r.status)
	after := r.status
	same := before.State == after.State && before.Text == after.Text && before.PID == after.PID &&
		before.RestartAt.Equal(after.RestartAt) && before.Restarts == after.Restarts && before.LastError == after.LastError
	if !same {
		if before.State != after.State {
			r.status.Since = time.Now()
			after = r.status
		}
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.mu.Unlock()
	if !same {
		s.onChange(after)
	}
}
