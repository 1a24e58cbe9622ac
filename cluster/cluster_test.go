package cluster

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/notify"
)

func TestAProcessThatHangsIsNotSaidToBeAlive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000")
	receive := func() string {
		buffer := make([]byte, 4096)
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}

	hang, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		ended <- keepAlive(t.Context(), notify.FromEnvironment(), func(context.Context) error { return <-hang })
	}()
	for range 3 {
		if got := receive(); got != "WATCHDOG=1" {
			t.Fatalf("got %q", got)
		}
	}
	hang <- errors.New("no answer for 5m0s")
	if err := <-ended; err != nil {
		t.Errorf("the others were ended: %v", err)
	}
	for {
		got := receive()
		if got == "WATCHDOG=1" {
			continue // of before
		}
		if !strings.HasPrefix(got, "STATUS=") || !strings.Contains(got, "no answer for 5m0s") {
			t.Errorf("got %q", got)
		}
		return
	}
}

func TestAProcessThatEndsIsNoneThatHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := keepAlive(ctx, &notify.Supervisor{}, func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
		t.Error(err)
	}
}
