package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
)

func TestAnyAnswerOfTheAPIServerIsASignOfLife(t *testing.T) {
	c := &config.Config{RunDir: t.TempDir()}
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600") // the client does not wait for that
		w.WriteHeader(status)
	}))
	defer server.Close()
	if err := (kubeconfig.Embedded{Server: server.URL}).Write(AdminKubeconfig(c)); err != nil {
		t.Fatal(err)
	}
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return Ask(ctx, c)
	}
	for _, status = range []int{http.StatusOK, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusUnauthorized} {
		if err := ask(time.Minute); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
	server.Close()
	if err := ask(time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	deaf, err := net.Listen("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if err := ask(100 * time.Millisecond); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody answers: %v", err)
	}
}
