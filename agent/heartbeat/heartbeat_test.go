package heartbeat

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// supervisor listens where the service sends.
func supervisor(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "hb") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	return conn
}

func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestItSaysReadyThenBeatsThenStops(t *testing.T) {
	conn := supervisor(t)
	t.Setenv("WATCHDOG_USEC", "40000")
	ctx, cancel := context.WithCancel(t.Context())
	var stdout bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- Run(ctx, &stdout) }()
	if got := next(t, conn); got != "READY=1\nSTATUS=up 0 s, 0 beats" {
		t.Errorf("first %q", got)
	}
	for range 3 {
		if got := next(t, conn); !regexp.MustCompile(`^WATCHDOG=1\nSTATUS=up \d+ s, \d+ beats$`).MatchString(got) {
			t.Errorf("beat %q", got)
		}
	}
	cancel()
	for {
		got := next(t, conn)
		if got == "STOPPING=1" {
			break
		}
		if !strings.HasPrefix(got, "WATCHDOG=1") {
			t.Fatalf("last %q", got)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if stdout.String() != "heartbeat: one beat every 20ms\n" {
		t.Errorf("printed %q", stdout.String())
	}
}

func TestItFailsWithoutASupervisor(t *testing.T) {
	conn := supervisor(t)
	conn.Close()
	os.Remove(os.Getenv("NOTIFY_SOCKET"))
	if err := Run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "notify the supervisor") {
		t.Errorf("nobody listens: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "start it as a service") {
		t.Errorf("no socket: %v", err)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := Run(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "WATCHDOG_USEC") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestStatusNamesOneUnit(t *testing.T) {
	for up, want := range map[time.Duration]string{
		119 * time.Second: "STATUS=up 119 s, 7 beats", 2 * time.Minute: "STATUS=up 2 m, 7 beats",
		3 * time.Hour: "STATUS=up 3 h, 7 beats", 50 * time.Hour: "STATUS=up 2 d, 7 beats",
	} {
		if got := status(up, 7); got != want {
			t.Errorf("%v: %q", up, got)
		}
	}
}
