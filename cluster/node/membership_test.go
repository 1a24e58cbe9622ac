package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/cluster/balancer"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// wasMember leaves what a node keeps of a cluster, and returns that cluster's CA.
func wasMember(t *testing.T, n *Node) *pki.Authority {
	t.Helper()
	ca := newAuthority(t)
	for path, contents := range map[string]string{
		n.serverCAFile():   string(ca.PEM()),
		n.serversFile():    `{"servers": ["192.0.2.1:6443"]}`,
		n.membershipFile(): "{}",
		n.nodeKubeconfig(): "{}", n.proxyKubeconfig(): "{}",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ca
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	ca, err := pki.LoadOrMakeAuthority(t.TempDir(), "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestATokenOfAnotherClusterMovesTheNode(t *testing.T) {
	another := newAuthority(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(another.PEM()) }))
	defer server.Close()
	token := func(ca *pki.Authority) string { return jointoken.New(ca.Digest(), jointoken.Agent).String() }
	type state struct{ left, ownCA, memory, servers bool } // memory is what servers said
	stays := state{ownCA: true, memory: true, servers: true}
	for name, c := range map[string]struct {
		change func(n *Node, own *pki.Authority)
		want   state
	}{
		"its own token":           {func(n *Node, own *pki.Authority) { n.Token = token(own) }, stays},
		"no token":                {func(n *Node, own *pki.Authority) {}, stays},
		"something else":          {func(n *Node, own *pki.Authority) { n.Token = "K10" }, stays},
		"a token file that is no": {func(n *Node, own *pki.Authority) { n.TokenFile = "/none" }, stays},
		"a token of the server's": {func(n *Node, own *pki.Authority) { n.Token = token(another) }, state{left: true}},
		"a token of a third":      {func(n *Node, own *pki.Authority) { n.Token = token(newAuthority(t)) }, stays},
		"no server":               {func(n *Node, own *pki.Authority) { n.Token, n.Server = token(another), "https://127.0.0.1:1" }, stays},
		"a server":                {func(n *Node, own *pki.Authority) { n.Token, n.Role = token(another), config.Server }, stays},
		"a damaged CA": {func(n *Node, own *pki.Authority) {
			n.Token = token(another)
			os.WriteFile(n.serverCAFile(), []byte("damaged"), 0o600)
		}, state{left: true, servers: true}},
	} {
		n := &Node{Config: &config.Config{Role: config.Agent, Server: server.URL, DataDir: t.TempDir(), RunDir: t.TempDir()}}
		own := wasMember(t, n)
		c.change(n, own)
		left, err := n.LeaveOtherCluster(t.Context())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ca, err := os.ReadFile(n.serverCAFile())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := state{left: left, ownCA: bytes.Equal(ca, own.PEM()), memory: true}
		if !got.ownCA && !bytes.Equal(ca, another.PEM()) {
			t.Errorf("%s: the CA is %q", name, ca)
		}
		for _, path := range []string{n.membershipFile(), n.nodeKubeconfig(), n.proxyKubeconfig()} {
			if _, err := os.Stat(path); err != nil {
				got.memory = false
			}
		}
		_, err = os.Stat(n.serversFile())
		got.servers = err == nil
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	fresh := &Node{Config: &config.Config{Role: config.Agent, Server: server.URL, Token: token(another), DataDir: t.TempDir(), RunDir: t.TempDir()}}
	if left, err := fresh.LeaveOtherCluster(t.Context()); err != nil || left {
		t.Errorf("a node that was in none: %v, %v", left, err)
	}
}

func TestWhyANodeIsNotInTheClusterIsToldInTheSameWords(t *testing.T) {
	n := &Node{Config: &config.Config{Role: config.Agent}, balancer: &balancer.Balancer{}}
	closed := func(port int) error {
		return &url.Error{Op: "Post", URL: "https://127.0.0.1:6444/", Err: &net.OpError{
			Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6444}, Err: os.NewSyscallError("read", unix.ECONNRESET),
		}}
	}
	lookup := func(port int) error {
		return &url.Error{Op: "Post", Err: fmt.Errorf("lookup shop on 127.0.0.53:53: read udp 127.0.0.1:%d->127.0.0.53:53: connection refused", port)}
	}
	for want, of := range map[string]func(port int) error{
		"joining the cluster, no server answers as it should: read tcp 127.0.0.1:6444: read: connection reset by peer":                  closed,
		"joining the cluster, no server answers as it should: lookup shop on 127.0.0.53:53: read udp 127.0.0.53:53: connection refused": lookup,
		"joining the cluster: --token-file: open /none: no such file or directory":                                                      func(int) error { return errors.New("--token-file: open /none: no such file or directory") },
	} {
		for _, port := range []int{40001, 40002} {
			if got := n.whyNotJoined(of(port)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	refused := fmt.Errorf("%w: the token is not valid in this cluster", join.ErrRefused)
	if got := n.whyNotJoined(refused); !strings.HasSuffix(got, refused.Error()) {
		t.Errorf("got %q", got)
	}
}

func TestOnlyCertificatesThatAreValidAreGoneOnWith(t *testing.T) {
	ca := newAuthority(t)
	key, err := pki.LoadOrMakeKey(filepath.Join(t.TempDir(), "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	const week = 7 * 24 * time.Hour
	signed := func(at time.Time) string {
		t.Helper()
		certificate, err := ca.Sign(pki.Subject{Name: "system:node:shop-17"}, key.Public(), at)
		if err != nil {
			t.Fatal(err)
		}
		return string(pki.EncodeCertificate(certificate))
	}
	for name, c := range map[string]struct {
		proxy time.Time // when one of the three was signed
		kept  bool
	}{
		"all are valid":    {time.Now(), true},
		"one has expired":  {time.Now().Add(-pki.CertificateLife - week), false},
		"one is too young": {time.Now().Add(week), false},
	} {
		n := &Node{Config: &config.Config{Role: config.Agent, DataDir: t.TempDir(), RunDir: t.TempDir(), NodeName: "shop-17"}}
		valid := signed(time.Now())
		if err := n.writeMembership(&join.Response{ClientCA: string(ca.PEM()), Kubelet: valid, Serving: valid, Proxy: signed(c.proxy)}); err != nil {
			t.Fatal(err)
		}
		if kept := n.keptMembership(); (kept != nil) != c.kept {
			t.Errorf("%s: got %v", name, kept)
		}
	}
}
