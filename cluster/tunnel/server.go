package tunnel

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/skerry-os/skerry/cluster/join"
)

// Server keeps the tunnels of the nodes.
type Server struct {
	clients *x509.CertPool // who signs nodes' certificates

	mu       sync.Mutex
	sessions map[string]*yamux.Session // by the node's name
}

// NewServer returns a server that believes certificates of one authority.
func NewServer(clientCA *x509.Certificate) *Server {
	pool := x509.NewCertPool()
	pool.AddCert(clientCA)
	return &Server{clients: pool, sessions: map[string]*yamux.Session{}}
}

// ServeHTTP takes a node's tunnel and keeps it until it ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, err := join.NodeName(r, s.clients, time.Now())
	if err != nil {
		slog.Warn("a tunnel was refused", "from", r.RemoteAddr, "why", err)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok || r.Header.Get("Upgrade") != protocol {
		http.Error(w, "a tunnel is asked for by HTTP/1.1 with Upgrade: "+protocol, http.StatusUpgradeRequired)
		return
	}
	connection, buffered, err := hijacker.Hijack()
	if err != nil {
		slog.Error("a tunnel could not be taken", "node", name, "error", err)
		return
	}
	defer connection.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	if err := buffered.Flush(); err != nil {
		return
	}
	session, err := yamux.Client(readAhead{connection, buffered.Reader}, settings())
	if err != nil {
		slog.Error("a tunnel could not be taken", "node", name, "error", err)
		return
	}
	s.keep(name, session)
	slog.Info("a node is connected", "node", name, "from", r.RemoteAddr)
	<-session.CloseChan()
	s.drop(name, session)
	slog.Info("a node is no longer connected", "node", name)
}

// readAhead is a connection of which a reader has some bytes already.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

func (r readAhead) Read(p []byte) (int, error) { return r.reader.Read(p) }

// keep makes a session the node's; an earlier one is from before the node's
// connection broke.
func (s *Server) keep(name string, session *yamux.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.sessions[name]; old != nil {
		old.Close()
	}
	s.sessions[name] = session
}

func (s *Server) drop(name string, session *yamux.Session) {
	session.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[name] == session {
		delete(s.sessions, name)
	}
}

// Dial opens a connection to a node's kubelet.
func (s *Server) Dial(ctx context.Context, name string) (net.Conn, error) {
	s.mu.Lock()
	session := s.sessions[name]
	s.mu.Unlock()
	if session == nil {
		return nil, fmt.Errorf("kubelet of %s: %w", name, errNotConnected)
	}
	type opened struct {
		stream net.Conn
		err    error
	}
	result := make(chan opened, 1)
	go func() {
		stream, err := session.Open()
		result <- opened{stream, err}
	}()
	select {
	case got := <-result:
		if got.err != nil {
			return nil, fmt.Errorf("kubelet of %s: %w (%w)", name, errNotConnected, got.err)
		}
		return got.stream, nil
	case <-ctx.Done():
		go func() {
			if got := <-result; got.err == nil {
				got.stream.Close()
			}
		}()
		return nil, ctx.Err()
	}
}
