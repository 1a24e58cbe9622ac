package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// wasMember leaves what a node keeps of a cluster, and returns the digest of
// that cluster's CA.
func wasMember(t *testing.T, n *Node) string {
	t.Helper()
	ca, err := pki.LoadOrMakeAuthority(t.TempDir(), "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for path, contents := range map[string]string{
		n.serverCAFile():   string(ca.PEM()),
		n.serversFile():    `{"servers": ["192.0.2.1:6443"]}`,
		n.membershipFile(): "{}",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ca.Digest()
}

func TestATokenOfAnotherClusterMovesTheNode(t *testing.T) {
	another := jointoken.New(strings.Repeat("0", 64), jointoken.Agent).String()
	for name, c := range map[string]struct {
		role  config.Role
		token func(own string) string
		stays bool
	}{
		"of its own":  {config.Agent, func(own string) string { return jointoken.New(own, jointoken.Agent).String() }, true},
		"none":        {config.Agent, func(string) string { return "" }, true},
		"no token":    {config.Agent, func(string) string { return "K10" }, true},
		"of another":  {config.Agent, func(string) string { return another }, false},
		"of a server": {config.Server, func(string) string { return another }, true},
	} {
		n := &Node{Config: &config.Config{Role: c.role, DataDir: t.TempDir(), RunDir: t.TempDir()}}
		n.Token = c.token(wasMember(t, n))
		if err := n.leaveOtherCluster(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, path := range []string{n.serverCAFile(), n.serversFile(), n.membershipFile()} {
			if _, err := os.Stat(path); (err == nil) != c.stays {
				t.Errorf("%s: %s: %v", name, filepath.Base(path), err)
			}
		}
	}
}

func TestOnlyCertificatesThatAreValidAreGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.LoadOrMakeAuthority(dir, "client-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.LoadOrMakeKey(filepath.Join(dir, "node.key"))
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
