//go:build cluster || system

// Package clustertest starts the control plane of this repository for tests.
//
// The program is the one that SKERRY names; without it, it is compiled. There
// can be one control plane at a time, for it listens on a port of its own,
// unless each has a machine of its own: see Network.
package clustertest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/subprocess"
)

// Server is a control plane without a node.
type Server struct {
	Config *rest.Config
	Client kubernetes.Interface
	Dir    string // its data folder
	RunDir string // its run folder

	machine *Machine // nil: this one
	dir     string
	flags   []string
	command *exec.Cmd
	ended   chan error
}

const (
	// Where others share the processors all takes ten times as long.
	startTime = 5 * time.Minute
	stopTime  = 2 * time.Minute
	waitTime  = 3 * time.Minute
)

// Start starts a control plane, waits until it answers, and ends it with the
// test.
func Start(t *testing.T, flags ...string) *Server {
	t.Helper()
	s := newServer(t, nil, flags)
	s.Begin(t)
	s.WaitUntilReady(t)
	return s
}

// newServer is a control plane that is not started.
func newServer(t *testing.T, m *Machine, flags []string) *Server {
	dir := t.TempDir()
	s := &Server{Dir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), machine: m, dir: dir, flags: flags}
	t.Cleanup(func() {
		if s.command != nil {
			s.Stop(t)
		}
		if t.Failed() {
			for line := range strings.Lines(s.Log(t)) {
				if !strings.HasPrefix(line, "I") { // what klog has to tell when nothing is wrong
					t.Logf("%s", strings.TrimSpace(line))
				}
			}
		}
	})
	return s
}

// Kubeconfig is the file with all rights.
func (s *Server) Kubeconfig() string { return filepath.Join(s.dir, "kubeconfig") }

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// Log is what all runs of the server have said.
func (s *Server) Log(t *testing.T) string {
	t.Helper()
	contents, err := os.ReadFile(s.logFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(contents)
}

// Begin starts the server, with more flags for this time, and does not wait for
// it.
func (s *Server) Begin(t *testing.T, flags ...string) {
	t.Helper()
	logFile, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	arguments := append([]string{
		program(t), "server", "--disable-agent", "--data-dir", s.Dir, "--run-dir", s.RunDir, "--write-kubeconfig", s.Kubeconfig(),
	}, slices.Concat(s.flags, flags)...)
	if s.machine != nil {
		arguments = append(s.machine.run(), arguments...)
	}
	s.command = exec.Command(arguments[0], arguments[1:]...)
	s.command.Stdout, s.command.Stderr = logFile, logFile
	if err := subprocess.Start(s.command); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func(command *exec.Cmd, ended chan<- error) { ended <- command.Wait() }(s.command, s.ended)
}

// Stop ends the server as an operator does.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	s.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		t.Error("the control plane does not end")
		s.command.Process.Kill()
		<-s.ended
	}
	s.command = nil
}

// Kill ends the server as a power cut does.
func (s *Server) Kill() {
	s.command.Process.Kill()
	<-s.ended
	s.command = nil
}

// Fails waits for the server to end by itself with an error, and returns what
// it has said.
func (s *Server) Fails(t *testing.T) string {
	t.Helper()
	select {
	case err := <-s.ended:
		s.command = nil
		if err == nil {
			t.Error("the control plane ended without an error")
		}
	case <-time.After(startTime):
		t.Fatal("the control plane goes on")
	}
	return s.Log(t)
}

// WaitUntilReady waits until the API server answers.
func (s *Server) WaitUntilReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	s.Config, s.Client = nil, nil
	for {
		if s.Client == nil {
			s.connect()
		}
		if s.Client != nil && kubeconfig.Ready(ctx, s.Client) {
			return
		}
		select {
		case err := <-s.ended:
			s.command = nil
			t.Fatalf("the control plane ended: %v", err)
		case <-ctx.Done():
			t.Fatal("the control plane does not become ready")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// connect makes the clients once there is a kubeconfig.
func (s *Server) connect() {
	config, client, err := kubeconfig.Client(s.Kubeconfig())
	if err != nil {
		return
	}
	if s.machine != nil {
		config.Host = s.machine.URL()
		if client, err = kubernetes.NewForConfig(config); err != nil {
			return
		}
	}
	s.Config, s.Client = config, client
}

// Skerry runs a command of the program on the server's machine and returns what
// it prints.
func (s *Server) Skerry(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	all := append([]string{program(t)}, arguments...)
	if s.machine != nil {
		all = append(s.machine.run(), all...)
	}
	command := exec.Command(all[0], all[1:]...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	return output.String(), err
}

// As is a client that has the rights of a user and groups.
func (s *Server) As(t *testing.T, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(s.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Eventually waits until a condition holds.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(waitTime); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", waitTime, what)
}

func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SKERRY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "skerry")
	output, err := exec.Command("go", "build", "-o", path, "github.com/skerry-os/skerry/cmd/skerry").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	return path
}

// Running tells whether the server was started and has not been stopped.
func (s *Server) Running() bool { return s.command != nil }

// Ended tells whether the server has ended by itself.
func (s *Server) Ended() bool {
	select {
	case err := <-s.ended:
		s.ended <- err
		return true
	default:
		return false
	}
}
