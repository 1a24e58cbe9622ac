package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// supervised sets up a socket as a supervisor does.
func supervised(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv(socketVariable, path)
	return socket
}

func receive(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	buffer := make([]byte, 4096)
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	n, err := socket.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestTheSupervisorHearsStatusAndReadiness(t *testing.T) {
	socket := supervised(t)
	s := FromEnvironment()
	s.Status("opening the datastore")
	if got := receive(t, socket); got != "STATUS=opening the datastore" {
		t.Errorf("got %q", got)
	}
	s.Ready("cluster server Ready")
	if got := receive(t, socket); got != "STATUS=cluster server Ready\nREADY=1" {
		t.Errorf("got %q", got)
	}
	s.Stopping(nil)
	if got := receive(t, socket); got != "STOPPING=1" {
		t.Errorf("got %q", got)
	}
	s.Stopping(errors.New("this cannot be:\nmissing  port 6443/tcp\nREADY=1"))
	if got := receive(t, socket); got != "STATUS=this cannot be: missing port 6443/tcp READY=1\nSTOPPING=1" {
		t.Errorf("got %q", got)
	}
	s.Status(strings.Repeat("é", 3000))
	if got := receive(t, socket); len(got) > 1100 || !strings.HasSuffix(got, "é…") {
		t.Errorf("got %d bytes, ending in %q", len(got), got[len(got)-8:])
	}
}

// The API server says READY=1 to whoever the environment names, long before the
// node is Ready.
func TestNobodyElseFindsTheSupervisor(t *testing.T) {
	supervised(t)
	t.Setenv("WATCHDOG_USEC", "60000000")
	FromEnvironment()
	for _, name := range []string{socketVariable, "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still %q", name, value)
		}
	}
}

func TestTheWatchdogIsFed(t *testing.T) {
	socket := supervised(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	s := FromEnvironment()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.Watchdog(ctx)
	for range 3 {
		if got := receive(t, socket); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
}

func TestWithoutASupervisorNothingHappens(t *testing.T) {
	t.Setenv(socketVariable, "")
	s := FromEnvironment()
	s.Ready("cluster server Ready")
	s.Stopping(nil)
}
