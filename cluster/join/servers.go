package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// Machines become servers, and nodes ask where the servers are:
//
//	GET  /skerry/v1/servers          Servers, with a node's client certificate
//	POST /skerry/v1/servers/keys     → ServerKeys, with a token for servers
//	POST /skerry/v1/servers/members  MemberRequest → MemberResponse, with a token for servers
//
// What makes a machine a server are the cluster's authorities and keys. They
// go from a server to a machine that has proved by a token that it may be one,
// through a connection whose other end the digest in that token has proved.
// They are never in the datastore: nothing has to be wrapped with a token, and
// nothing is lost with one.
const (
	serversPath = Prefix + "servers"
	keysPath    = Prefix + "servers/keys"
	membersPath = Prefix + "servers/members"
)

// Servers is where all servers are.
type Servers struct {
	Servers []string `json:"servers"` // host:port
}

// ServerKeys are what all servers share.
type ServerKeys struct {
	// Files are contents by the path below the server's folder.
	Files map[string]string `json:"files"`
	// Settings are those that must be the same on all servers, by flag.
	Settings map[string]string `json:"settings"`
}

// MemberRequest asks for a place in etcd.
type MemberRequest struct {
	Name string `json:"name"`
	Peer string `json:"peer"` // host:port
}

// MemberResponse says where all members are, the new one included.
type MemberResponse struct {
	Peers []string `json:"peers"` // host:port
}

func (r MemberRequest) check() error {
	if err := checkName(r.Name); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(r.Peer)
	if err != nil || net.ParseIP(host) == nil {
		return fmt.Errorf("%.64q is no IP address and port", r.Peer)
	}
	return nil
}

// Members is the datastore that several servers keep.
type Members interface {
	Admit(ctx context.Context, name, peer string) ([]string, error)
}

// servers tells a node where all servers are.
func (s *Server) servers(w http.ResponseWriter, r *http.Request) {
	authorities := x509.NewCertPool()
	authorities.AddCert(s.ClientCA.Certificate)
	if _, err := NodeName(r, authorities, s.Now()); err != nil {
		refuse(w, http.StatusForbidden, err.Error())
		return
	}
	answer(w, http.StatusOK, Servers{Servers: s.Cluster().Servers})
}

// mayServe checks that the caller may become a server. It answers if not.
func (s *Server) mayServe(w http.ResponseWriter, r *http.Request) bool {
	if s.Members == nil {
		refuse(w, http.StatusForbidden, "this cluster has a single server, whose state is in SQLite: others can join only a server that was started with --cluster-init")
		return false
	}
	if s.Keys() == nil {
		starting(w)
		return false
	}
	switch err := s.checkToken(bearer(r), jointoken.Server); {
	case errors.Is(err, errRefused):
		slog.Warn("a server was refused", "from", r.RemoteAddr, "why", err)
		refuse(w, http.StatusForbidden, err.Error())
		return false
	case err != nil:
		slog.Error("a server could not be admitted", "error", err)
		refuse(w, http.StatusInternalServerError, "the server could not read its tokens: see its log")
		return false
	}
	return true
}

func (s *Server) serverKeys(w http.ResponseWriter, r *http.Request) {
	if !s.mayServe(w, r) {
		return
	}
	keys, err := s.ServerKeys()
	if err != nil {
		slog.Error("the keys for another server could not be read", "error", err)
		refuse(w, http.StatusInternalServerError, "the server could not read its keys: see its log")
		return
	}
	slog.Info("another server has the cluster's keys now", "address", r.RemoteAddr)
	answer(w, http.StatusOK, keys)
}

func (s *Server) members(w http.ResponseWriter, r *http.Request) {
	if !s.mayServe(w, r) {
		return
	}
	request, ok := decode[MemberRequest](w, r)
	if !ok {
		return
	}
	if err := request.check(); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	peers, err := s.Members.Admit(r.Context(), request.Name, request.Peer)
	if err != nil {
		// It mends itself: a server that joins at the same time is done soon, one
		// that seemed to run is down.
		slog.Warn("a server could not be admitted", "name", request.Name, "error", err)
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, MemberResponse{Peers: peers})
}

// AskKeys asks for what makes a machine a server.
func (c Client) AskKeys(ctx context.Context) (ServerKeys, error) {
	client, err := c.http()
	if err != nil {
		return ServerKeys{}, err
	}
	keys, err := post[ServerKeys](ctx, client, c.Server, keysPath, c.Token, struct{}{})
	if err != nil {
		return ServerKeys{}, err
	}
	for name := range keys.Files {
		if path.Clean(name) != name || path.IsAbs(name) || strings.HasPrefix(name, "..") {
			return ServerKeys{}, fmt.Errorf("%w: it names a file %q, outside of the server's folder", ErrRefused, name)
		}
	}
	return keys, nil
}

// AskPlace asks for a place in etcd.
func (c Client) AskPlace(ctx context.Context, request MemberRequest) ([]string, error) {
	client, err := c.http()
	if err != nil {
		return nil, err
	}
	response, err := post[MemberResponse](ctx, client, c.Server, membersPath, c.Token, request)
	return response.Peers, err
}

// AskServers asks where all servers are, as a node whose client certificate and
// key are in files.
func (c Client) AskServers(ctx context.Context, certificate, key string) ([]string, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{pair}
	response, err := get[Servers](ctx, httpClient(config), c.Server, serversPath)
	return response.Servers, err
}

// ServerName is a name in the certificates of all servers and of nothing else:
// who asks for it does not care under which address a server is reached.
const ServerName = "kubernetes.default.svc"

// tls believes the cluster's servers, whatever their address.
func (c Client) tls() (*tls.Config, error) {
	roots, err := pki.Pool(c.CA)
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate: %w", err)
	}
	return &tls.Config{RootCAs: roots, ServerName: ServerName, MinVersion: tls.VersionTLS13}, nil
}

func (c Client) http() (*http.Client, error) {
	config, err := c.tls()
	if err != nil {
		return nil, err
	}
	return httpClient(config), nil
}
