package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/pki"
)

// world is a server, its authorities, and what stands for a kubelet.
type world struct {
	dir     string
	client  *pki.Authority
	server  *Server
	http    *httptest.Server
	kubelet net.Listener
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	var err error
	if w.client, err = pki.LoadOrMakeAuthority(w.dir, "client-ca", time.Now()); err != nil {
		t.Fatal(err)
	}
	serverCA, err := pki.LoadOrMakeAuthority(w.dir, "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := serverCA.Issue(w.dir, "serving", pki.Subject{Name: "s", Hosts: []string{join.ServerName}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, "serving.crt"), filepath.Join(w.dir, "serving.key"))
	if err != nil {
		t.Fatal(err)
	}
	w.server = NewServer(w.client.Certificate)
	w.http = httptest.NewUnstartedServer(w.server)
	w.http.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	w.http.StartTLS()
	t.Cleanup(w.http.CloseClientConnections)
	if w.kubelet, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.kubelet.Close() })
	go func() { // says back what it hears, and ends when the other side does
		for {
			connection, err := w.kubelet.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(connection, connection); connection.Close() }()
		}
	}()
	return w
}

// node returns the end of a tunnel with a certificate of an authority.
func (w *world) node(t *testing.T, by *pki.Authority, s pki.Subject) Node {
	t.Helper()
	dir := t.TempDir()
	if err := by.Issue(dir, "node", s, time.Now()); err != nil {
		t.Fatal(err)
	}
	return Node{
		Server: w.http.URL, CA: filepath.Join(w.dir, "server-ca.crt"),
		Certificate: filepath.Join(dir, "node.crt"), Key: filepath.Join(dir, "node.key"), Kubelet: w.kubelet.Addr().String(),
	}
}

var shop17 = pki.Subject{Name: "system:node:shop-17", Groups: []string{"system:nodes"}}

// dial waits for the node's tunnel.
func (w *world) dial(t *testing.T, name string) net.Conn {
	t.Helper()
	for {
		connection, err := w.server.Dial(t.Context(), name)
		if err == nil {
			return connection
		}
		if !errors.Is(err, errNotConnected) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAServerReachesTheKubeletOfANode(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.node(t, w.client, shop17).Run(ctx)
	for range 3 {
		connection := w.dial(t, "shop-17")
		sent := strings.Repeat("exec", 100_000) // more than any window
		go io.WriteString(connection, sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(connection, got); err != nil || string(got) != sent {
			t.Fatalf("read: %v", err)
		}
		connection.Close()
	}
	if _, err := w.server.Dial(t.Context(), "other"); !errors.Is(err, errNotConnected) {
		t.Errorf("another name: %v", err)
	}
}

func TestATunnelThatBreaksIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.node(t, w.client, shop17).Run(ctx)
	w.dial(t, "shop-17").Close()
	w.server.mu.Lock()
	first := w.server.sessions["shop-17"]
	w.server.mu.Unlock()
	first.Close()
	for w.dial(t, "shop-17").Close(); ; time.Sleep(10 * time.Millisecond) {
		w.server.mu.Lock()
		now := w.server.sessions["shop-17"]
		w.server.mu.Unlock()
		if now != nil && now != first {
			return
		}
	}
}

func TestOnlyNodesGetATunnel(t *testing.T) {
	w := newWorld(t)
	stranger, err := pki.LoadOrMakeAuthority(t.TempDir(), "client-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, node := range map[string]Node{
		"another authority": w.node(t, stranger, shop17),
		"no node":           w.node(t, w.client, pki.Subject{Name: "system:kube-proxy"}),
		"not in the group":  w.node(t, w.client, pki.Subject{Name: "system:node:shop-17"}),
	} {
		if _, err := node.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(w.server.sessions) > 0 {
		t.Error("a session was kept")
	}
}

func TestANodeBelievesItsOwnServerOnly(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	node := w.node(t, w.client, shop17)
	node.Server = other.http.URL
	if _, err := node.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("another server: %v", err)
	}
}
