//go:build cluster || system

// Package clustertest starts the control plane of this repository for tests.
//
// The program is the one that SKERRY names; without it, it is compiled. There
// can be one control plane at a time: it listens on a port of its own.
package clustertest

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/kubeconfig"
)

// Server is a control plane without a node.
type Server struct {
	Config *rest.Config
	Client kubernetes.Interface
	Dir    string // its data folder

	program string
	flags   []string
	dir     string
	running *exec.Cmd
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
	dir := t.TempDir()
	s := &Server{Dir: filepath.Join(dir, "data"), program: program(t), flags: flags, dir: dir}
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			contents, _ := os.ReadFile(s.path("log"))
			for line := range bytes.Lines(contents) {
				if !bytes.HasPrefix(line, []byte("I")) { // what klog has to tell when nothing is wrong
					t.Logf("%s", bytes.TrimSpace(line))
				}
			}
		}
	})
	s.StartAgain(t)
	return s
}

// Kubeconfig is the file with all rights.
func (s *Server) Kubeconfig() string { return s.path("kubeconfig") }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// Stop ends the control plane as an administrator does.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if s.running == nil {
		return
	}
	s.running.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		t.Error("the control plane does not end")
		s.running.Process.Kill()
		<-s.ended
	}
	s.running = nil
}

// StartAgain starts a control plane that was stopped, and waits until it
// answers.
func (s *Server) StartAgain(t *testing.T) {
	t.Helper()
	logFile, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	command := exec.Command(s.program, append([]string{
		"server", "--disable-agent", "--data-dir", s.Dir, "--run-dir", s.path("run"), "--write-kubeconfig", s.Kubeconfig(),
	}, s.flags...)...)
	command.Stdout, command.Stderr = logFile, logFile
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s.running, s.ended = command, make(chan error, 1)
	go func() { s.ended <- command.Wait() }()
	s.waitUntilReady(t)
}

func (s *Server) waitUntilReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	for {
		if s.Client == nil {
			if config, client, err := kubeconfig.Client(s.Kubeconfig()); err == nil {
				s.Config, s.Client = config, client
			}
		}
		if s.Client != nil {
			var status int
			s.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
			if status == http.StatusOK {
				return
			}
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			t.Fatalf("the control plane ended: %v", err)
		case <-ctx.Done():
			t.Fatal("the control plane does not become ready")
		case <-time.After(100 * time.Millisecond):
		}
	}
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
