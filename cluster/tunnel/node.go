package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/cluster/restart"
	"github.com/skerry-os/skerry/cluster/splice"
)

// Node is the end of a tunnel on a node.
type Node struct {
	Server string // URL
	// Files; read again for each connection, as they are renewed.
	CA, Certificate, Key string
	// Kubelet is where the kubelet listens, host:port.
	Kubelet string
}

const (
	dialTimeout = 10 * time.Second
	firstPause  = 500 * time.Millisecond
	lastPause   = 15 * time.Second
)

// Run keeps a tunnel open until ctx ends.
func (n Node) Run(ctx context.Context) error {
	restart.Keep(ctx, firstPause, lastPause, n.once, func(err error, pause time.Duration) {
		slog.Warn("the tunnel to the server ended", "server", n.Server, "error", err, "again in", pause)
	})
	return nil
}

func (n Node) once(ctx context.Context) error {
	connection, err := n.connect(ctx)
	if err != nil {
		return err
	}
	session, err := yamux.Server(connection, settings())
	if err != nil {
		connection.Close()
		return err
	}
	defer session.Close()
	defer context.AfterFunc(ctx, func() { session.Close() })()
	for {
		stream, err := session.Accept()
		if err != nil {
			return err
		}
		go n.serve(ctx, stream)
	}
}

// serve connects one stream with the kubelet.
func (n Node) serve(ctx context.Context, stream net.Conn) {
	dialer := net.Dialer{Timeout: dialTimeout}
	kubelet, err := dialer.DialContext(ctx, "tcp", n.Kubelet)
	if err != nil {
		slog.Warn("the kubelet does not answer", "error", err)
		stream.Close()
		return
	}
	splice.Both(stream, kubelet)
}

// connect asks the server for a tunnel.
func (n Node) connect(ctx context.Context) (net.Conn, error) {
	pair, err := tls.LoadX509KeyPair(n.Certificate, n.Key)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(n.CA)
	if err != nil {
		return nil, err
	}
	roots, err := pki.Pool(ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.CA, err)
	}
	server, err := url.Parse(n.Server)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: dialTimeout},
		Config:    &tls.Config{RootCAs: roots, ServerName: join.ServerName, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
	}
	connection, err := dialer.DialContext(ctx, "tcp", server.Host)
	if err != nil {
		return nil, err
	}
	upgraded, err := upgrade(connection, server.Host)
	if err != nil {
		connection.Close()
		return nil, err
	}
	return upgraded, nil
}

// upgrade speaks HTTP until the server agrees.
func upgrade(connection net.Conn, host string) (net.Conn, error) {
	connection.SetDeadline(time.Now().Add(dialTimeout))
	request, err := http.NewRequest(http.MethodGet, "https://"+host+Path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", protocol)
	if err := request.Write(connection); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(connection)
	answer, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.New(answer.Status)
	}
	return readAhead{connection, reader}, connection.SetDeadline(time.Time{})
}
