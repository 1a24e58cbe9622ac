package join

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// members admits everybody.
type members []string

func (m members) Admit(_ context.Context, name, peer string) ([]string, error) {
	if name == "busy" {
		return nil, errors.New("another server is joining")
	}
	return append(m, peer), nil
}

// several makes a cluster one of several servers, whose token is for servers.
func several(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.token = jointoken.New(c.token.CA, jointoken.Server)
	c.server.Members = members{"192.0.2.1:2380"}
	c.server.ServerKeys = func() (ServerKeys, error) {
		return ServerKeys{Files: map[string]string{"tls/server-ca.key": "private"}, Settings: map[string]string{"cluster-cidr": "10.42.0.0/16"}}, nil
	}
	return c
}

func (c *cluster) client(token string) Client {
	return Client{Server: c.http.URL, CA: c.server.ServerCA.PEM(), Token: token}
}

func TestAServerTokenGetsKeysAndAPlace(t *testing.T) {
	c := several(t)
	keys, err := c.client(c.token.String()).AskKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := c.server.ServerKeys()
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
	peers, err := c.client(c.token.String()).AskPlace(t.Context(), MemberRequest{Name: "b", Peer: "192.0.2.2:2380"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.1:2380", "192.0.2.2:2380"}, peers); diff != "" {
		t.Error(diff)
	}
}

func TestNobodyElseGetsKeysOrAPlace(t *testing.T) {
	c := several(t)
	agent := jointoken.New(c.token.CA, jointoken.Agent)
	expired := jointoken.New(c.token.CA, jointoken.Server)
	c.server.Tokens = func() ([]Token, error) {
		old := known(expired)
		old.Expires = time.Now().Add(-time.Second)
		return []Token{known(c.token), known(agent), old}, nil
	}
	for name, test := range map[string]struct{ token, want string }{
		"no token":          {"", "needs a token"},
		"another secret":    {jointoken.New(c.token.CA, jointoken.Server).String(), "not valid"},
		"an agent's token":  {agent.String(), "role agent"},
		"an expired token":  {expired.String(), "expired"},
		"an agent's secret": {jointoken.Token{CA: c.token.CA, Role: jointoken.Server, Secret: agent.Secret}.String(), "not valid"},
	} {
		client := c.client(test.token)
		if keys, err := client.AskKeys(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) || len(keys.Files) > 0 {
			t.Errorf("%s: keys: %v", name, err)
		}
		if _, err := client.AskPlace(t.Context(), MemberRequest{Name: "b", Peer: "192.0.2.2:2380"}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: place: %v", name, err)
		}
	}
	// The agent's own token is good for nodes.
	if _, err := c.join(t, "shop-17", agent.String(), newKey(t)); err != nil {
		t.Error(err)
	}
	// A server that is starting does not know its tokens yet.
	c.ready = false
	if _, err := c.client(c.token.String()).AskKeys(t.Context()); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("a server that starts: %v", err)
	}
}

func TestASingleServerStaysAlone(t *testing.T) {
	c := several(t)
	c.server.Members = nil
	if _, err := c.client(c.token.String()).AskKeys(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "--cluster-init") {
		t.Errorf("got %v", err)
	}
}

func TestPlacesThatCannotBeAreRefused(t *testing.T) {
	c := several(t)
	client := c.client(c.token.String())
	for _, request := range []MemberRequest{{Name: "b", Peer: "192.0.2.2"}, {Name: "b", Peer: "b.example:2380"}, {Name: "../b", Peer: "192.0.2.2:2380"}} {
		if _, err := client.AskPlace(t.Context(), request); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v", request, err)
		}
	}
	if _, err := client.AskPlace(t.Context(), MemberRequest{Name: "busy", Peer: "192.0.2.2:2380"}); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("while another joins: %v: a server must not give up", err)
	}
}

func TestKeysOutsideOfTheServersFolderAreNotTaken(t *testing.T) {
	c := several(t)
	for _, name := range []string{"../../etc/shadow", "/etc/shadow", "tls/../../x"} {
		c.server.ServerKeys = func() (ServerKeys, error) { return ServerKeys{Files: map[string]string{name: "x"}}, nil }
		if _, err := c.client(c.token.String()).AskKeys(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNodesLearnWhereAllServersAre(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	files := func(name string, by *pki.Authority, s pki.Subject) (string, string) {
		if err := by.Issue(dir, name, s, time.Now()); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	}
	certificate, key := files("node", c.server.ClientCA, pki.Subject{Name: "system:node:shop-17", Groups: []string{"system:nodes"}})
	got, err := c.client("").AskServers(t.Context(), certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.1:6443", "192.0.2.2:6443"}, got); diff != "" {
		t.Error(diff)
	}
	stranger, err := pki.LoadOrMakeAuthority(t.TempDir(), "client-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]struct {
		by *pki.Authority
		s  pki.Subject
	}{"no node": {c.server.ClientCA, pki.Subject{Name: "system:kube-proxy"}}, "another authority": {stranger, pki.Subject{Name: "system:node:a"}}} {
		certificate, key := files("other", who.by, who.s)
		if _, err := c.client("").AskServers(t.Context(), certificate, key); err == nil {
			t.Errorf("%s was told", name)
		}
	}
	client := c.http.Client()
	client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	answer, err := client.Get(c.http.URL + serversPath)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("without a certificate: status %d", answer.StatusCode)
	}
}
