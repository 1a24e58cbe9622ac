package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Keys remembers which name belongs to which key.
type Keys interface {
	// Bound returns the digest of the key that the name is bound to, or "".
	Bound(ctx context.Context, name string) (string, error)
	// Bind binds a name to a key. If somebody else was faster the key that
	// the name is bound to now is returned.
	Bind(ctx context.Context, name, key string) (string, error)
}

// Server answers machines that join.
type Server struct {
	ServerCA, ClientCA *pki.Authority
	// Tokens returns those that the cluster knows, expired ones included.
	Tokens func() ([]Token, error)
	// Keys returns nil while the API server does not answer yet.
	Keys func() Keys
	// Cluster returns what every node is told; the certificates are left
	// empty.
	Cluster func() Response
	// AccessKeys are of persons who may have all rights.
	AccessKeys []nodeconfig.AccessKey
	// Members is the datastore if other servers can join, or else nil.
	Members Members
	// ServerKeys returns what other servers are told. It is asked only if there
	// can be any.
	ServerKeys func() (ServerKeys, error)
	Now        func() time.Time
}

// ServeHTTP answers requests below Prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == caPath && r.Method == http.MethodGet:
		s.ca(w)
	case r.URL.Path == nodesPath && r.Method == http.MethodPost:
		s.nodes(w, r)
	case r.URL.Path == accessPath && r.Method == http.MethodPost:
		s.access(w, r)
	case r.URL.Path == serversPath && r.Method == http.MethodGet:
		s.servers(w, r)
	case r.URL.Path == keysPath && r.Method == http.MethodPost:
		s.serverKeys(w, r)
	case r.URL.Path == membersPath && r.Method == http.MethodPost:
		s.members(w, r)
	default:
		refuse(w, http.StatusNotFound, "there is nothing here")
	}
}

func (s *Server) ca(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Write(s.ServerCA.PEM())
}

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	request, ok := decode[Request](w, r)
	if !ok {
		return
	}
	csr, err := request.check()
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := s.checkAddresses(request.Addresses); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	keys := s.Keys()
	if keys == nil {
		starting(w)
		return
	}
	switch err := s.admit(r.Context(), keys, request.Name, keyDigest(csr), bearer(r)); {
	case errors.Is(err, errRefused):
		slog.Warn("a node was refused", "name", request.Name, "from", r.RemoteAddr, "why", err)
		refuse(w, http.StatusForbidden, err.Error())
		return
	case err != nil:
		slog.Error("a node could not be admitted", "name", request.Name, "error", err)
		refuse(w, http.StatusInternalServerError, "the server could not look up the node's key: see its log")
		return
	}
	response, err := s.certify(request, csr.PublicKey)
	if err != nil {
		slog.Error("a node's certificates could not be made", "name", request.Name, "error", err)
		refuse(w, http.StatusInternalServerError, "the server could not make the certificates: see its log")
		return
	}
	answer(w, http.StatusOK, response)
}

// checkAddresses refuses those of Services: at one of them Pods find the API
// server, and believe who has a certificate for it.
func (s *Server) checkAddresses(addresses []string) error {
	services, err := netip.ParsePrefix(s.Cluster().ServiceCIDR)
	if err != nil {
		return nil // there are no Services
	}
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil && services.Contains(address.Unmap()) {
			return fmt.Errorf("the node's address %s is among those of Services, %s", text, services)
		}
	}
	return nil
}

// errRefused is wrapped by the reasons why a node is not let in.
var errRefused = errors.New("refused")

type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == errRefused }

// admit decides whether the holder of a key may be the node of a name.
func (s *Server) admit(ctx context.Context, keys Keys, name, key, bearer string) error {
	bound, err := keys.Bound(ctx, name)
	if err != nil {
		return err
	}
	if bound == key {
		return nil
	}
	if err := s.checkToken(bearer, jointoken.Agent, jointoken.Server); err != nil {
		return err
	}
	if bound == "" {
		if bound, err = keys.Bind(ctx, name, key); err != nil {
			return err
		}
	}
	if bound != key {
		return refusal("the name " + name + " belongs to another machine's key: use another name, or, if this machine replaces that one, " +
			"`kubectl delete node " + name + "` first")
	}
	return nil
}

// checkToken looks whether a token is valid and its role is one of those named.
func (s *Server) checkToken(bearer string, roles ...string) error {
	if bearer == "" {
		return refusal("the server does not know this node's key yet: joining needs a token")
	}
	given, err := jointoken.Parse(bearer)
	if err != nil {
		return refusal(err.Error())
	}
	known, err := s.Tokens()
	if err != nil {
		return err
	}
	var found *Token
	for i, t := range known { // all of them, for the time to tell nothing
		if t.matches(given) {
			found = &known[i]
		}
	}
	switch {
	case found == nil:
		return refusal("the token is not valid in this cluster: `skerry token list` on a server shows those that are")
	case found.Expired(s.Now()):
		return refusal("the token has expired at " + found.Expires.Format(time.RFC3339) + ": `skerry token create` on a server makes another")
	case !slices.Contains(roles, given.Role):
		return refusal("the token is one for role " + given.Role + ": `skerry token --role server` on a server prints one with which machines become servers")
	}
	return nil
}

func (s *Server) certify(r Request, public any) (Response, error) {
	now := s.Now()
	response := s.Cluster()
	response.ClientCA = string(s.ClientCA.PEM())
	for _, c := range []struct {
		into    *string
		ca      *pki.Authority
		subject pki.Subject
	}{
		{&response.Kubelet, s.ClientCA, pki.Subject{Name: nodePrefix + r.Name, Groups: []string{nodesGroup}}},
		{&response.Proxy, s.ClientCA, pki.Subject{Name: "system:kube-proxy", Groups: []string{"skerry:node-network"}}},
		{&response.Serving, s.ServerCA, pki.Subject{Name: r.Name, Hosts: append([]string{r.Name, "localhost", "127.0.0.1"}, r.Addresses...)}},
	} {
		certificate, err := c.ca.Sign(c.subject, public, now)
		if err != nil {
			return Response{}, err
		}
		*c.into = string(pki.EncodeCertificate(certificate))
	}
	return response, nil
}

func bearer(r *http.Request) string {
	value, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return value
}

// decode reads a question, or refuses it.
func decode[Question any](w http.ResponseWriter, r *http.Request) (Question, bool) {
	var question Question
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, largestMessage)).Decode(&question); err != nil {
		refuse(w, http.StatusBadRequest, "the request cannot be read: "+err.Error())
		return question, false
	}
	return question, true
}

func starting(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusServiceUnavailable, "the API server is starting")
}

func refuse(w http.ResponseWriter, status int, why string) { answer(w, status, failure{Error: why}) }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
