package container

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/skerry-os/skerry/cluster/config"
)

func TestASocketWithoutAnAnswerIsToldFromOneThatNobodyHas(t *testing.T) {
	c := &config.Config{RunDir: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(Socket(c)), 0o700); err != nil {
		t.Fatal(err)
	}
	ask := func(limit time.Duration) (err error, late bool) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return Ask(ctx, c), ctx.Err() != nil
	}
	if err, late := ask(time.Minute); err == nil || late {
		t.Errorf("nobody listens: %v, late %v", err, late)
	}
	listener, err := net.Listen("unix", Socket(c))
	if err != nil {
		t.Fatal(err)
	}
	if err, late := ask(100 * time.Millisecond); err == nil || !late {
		t.Errorf("nobody answers: %v, late %v", err, late)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}()
	defer server.Stop()
	if err, late := ask(time.Minute); err != nil || late {
		t.Errorf("an answer: %v, late %v", err, late)
	}
}
