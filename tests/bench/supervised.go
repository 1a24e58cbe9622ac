package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// program is one process of a control plane.
type program struct {
	path string
	args []string
	// after tells whether the program can be started; nil if at once.
	after func() bool
}

func (p program) name() string { return filepath.Base(p.path) }

const (
	// restartDelay is that of a supervisor that is in no hurry: a component
	// that does not find the API server in time ends.
	restartDelay = time.Second
	// maxRestarts is for a program that cannot run, not for one that waits.
	maxRestarts = 30
	// stopDeadline is for a process that hangs.
	stopDeadline = time.Minute
)

// supervised are the processes of a control plane. Those that end are started
// again.
type supervised struct {
	network   *network
	logs      string // folder
	programs  []program
	processes []*process
	failed    chan error // one of them ends again and again
}

// process is a program that runs.
type process struct {
	mutex    sync.Mutex
	current  *os.Process
	stopping bool
	pastCPU  time.Duration // of earlier processes of the program
	restarts int
	ended    chan struct{} // the last process did
}

// supervise starts all programs, each as soon as it can be.
func supervise(n *network, logs string, programs []program) (*supervised, error) {
	s := &supervised{network: n, logs: logs, programs: programs, failed: make(chan error, len(programs))}
	for _, p := range programs {
		one := &process{ended: make(chan struct{})}
		var cmd *exec.Cmd
		if p.after == nil {
			var err error
			if cmd, err = s.start(p, one); err != nil {
				return nil, errors.Join(err, s.stop())
			}
		}
		s.processes = append(s.processes, one)
		go func() {
			defer close(one.ended)
			if err := s.keep(p, one, cmd); err != nil {
				s.failed <- err
			}
		}()
	}
	return s, nil
}

func (s *supervised) start(p program, one *process) (*exec.Cmd, error) {
	log, err := os.OpenFile(s.log(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	one.mutex.Lock()
	defer one.mutex.Unlock()
	if one.stopping {
		return nil, nil
	}
	s.network.do(func() { err = cmd.Start() })
	one.current = cmd.Process
	return cmd, err
}

// keep waits for a process and starts the next one until it is told to stop. A
// program that has to wait for something has no process yet.
func (s *supervised) keep(p program, one *process, cmd *exec.Cmd) (err error) {
	if cmd == nil {
		for !p.after() {
			if one.isStopping() {
				return nil
			}
			time.Sleep(pollInterval)
		}
		if cmd, err = s.start(p, one); err != nil {
			return err
		}
	}
	for cmd != nil {
		err := cmd.Wait()
		one.mutex.Lock()
		stopping := one.stopping
		one.current = nil
		one.pastCPU += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		if !stopping {
			one.restarts++
		}
		restarts := one.restarts
		one.mutex.Unlock()
		if stopping {
			return nil
		}
		if restarts > maxRestarts {
			text, _ := os.ReadFile(s.log(p))
			return fmt.Errorf("%s ends again and again: %w\n%s", p.name(), err, lastLines(string(text), 8))
		}
		time.Sleep(restartDelay)
		if cmd, err = s.start(p, one); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervised) log(p program) string { return filepath.Join(s.logs, p.name()+".log") }

// pids are the processes that run now.
func (s *supervised) pids() (pids []int) {
	for _, p := range s.processes {
		p.mutex.Lock()
		if p.current != nil {
			pids = append(pids, p.current.Pid)
		}
		p.mutex.Unlock()
	}
	return pids
}

// restarts tells how often a process ended by itself.
func (s *supervised) restarts() (n int) {
	for _, p := range s.processes {
		p.mutex.Lock()
		n += p.restarts
		p.mutex.Unlock()
	}
	return n
}

// cpu is the time that all processes used, those that ended included.
func (s *supervised) cpu() (time.Duration, error) {
	now, err := s.consumption()
	for _, p := range s.processes {
		p.mutex.Lock()
		now.cpu += p.pastCPU
		p.mutex.Unlock()
	}
	return now.cpu, err
}

// consumption is that of the processes that run now.
func (s *supervised) consumption() (sum consumption, err error) {
	for _, pid := range s.pids() {
		one, err := consumptionOf(pid)
		if err != nil {
			return sum, err
		}
		sum.cpu += one.cpu
		sum.written += one.written
	}
	return sum, nil
}

// memory is the sum of the processes that run now, in bytes.
func (s *supervised) memory() (rss, pss float64, err error) {
	for _, pid := range s.pids() {
		oneRSS, onePSS, err := memoryOf(pid)
		if err != nil {
			return 0, 0, err
		}
		rss += oneRSS
		pss += onePSS
	}
	return rss, pss, nil
}

// stop ends the processes, the one that was started last first, and kills those
// that do not end.
func (s *supervised) stop() error {
	var errs []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		one := s.processes[i]
		one.signal(syscall.SIGTERM)
		select {
		case <-one.ended:
		case <-time.After(stopDeadline):
			one.signal(syscall.SIGKILL)
			<-one.ended
			errs = append(errs, fmt.Errorf("%s did not end within %v and was killed", s.programs[i].name(), stopDeadline))
		}
	}
	return errors.Join(errs...)
}

func (p *process) isStopping() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.stopping
}

func (p *process) signal(s os.Signal) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.stopping = true
	if p.current != nil {
		_ = p.current.Signal(s) // it may have ended
	}
}
