package container

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/skerry-os/skerry/cluster/config"
)

func TestAsking(t *testing.T) { // the name is part of a socket's, which has to be short
	c := &config.Config{RunDir: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(Socket(c)), 0o700); err != nil {
		t.Fatal(err)
	}
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return Ask(ctx, c)
	}
	listen := func(keep bool) net.Listener {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: Socket(c), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(!keep)
		return listener
	}
	if err := ask(time.Minute); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is no socket: %v", err)
	}
	listen(true).Close()
	if err := ask(time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := os.Remove(Socket(c)); err != nil {
		t.Fatal(err)
	}
	listener := listen(false)
	if err := ask(100 * time.Millisecond); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody answers: %v", err)
	}
	aware := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(aware, health.NewServer())
	for name, server := range map[string]*grpc.Server{"an answer": aware, "the question is not known": grpc.NewServer()} {
		if listener == nil {
			listener = listen(false)
		}
		go server.Serve(listener)
		if err := ask(time.Minute); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		server.Stop()
		listener = nil
	}
}
