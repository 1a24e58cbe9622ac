package datastore

import (
	"testing"

	"go.uber.org/zap"
)

// The numbers are those of the CIS Kubernetes Benchmark v1.11, section 2;
// docs/security.md lists them with the rest.
func TestEtcdPassesTheCISBenchmark(t *testing.T) {
	e := &Etcd{
		Dir: t.TempDir(), Socket: "/run/x/datastore.sock", Name: "a", API: "192.0.2.1:6443", Peer: "192.0.2.1:2380", Listen: "192.0.2.1:2380",
		CA: "ca.crt", Certificate: "peer.crt", Key: "peer.key",
	}
	c, err := e.settings(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	peers := c.PeerTLSInfo
	for _, check := range []struct {
		number string
		holds  bool
	}{
		// Clients come through a socket, which is root's alone: see Run.
		{"2.1, 2.2", len(c.ListenClientUrls) == 1 && c.ListenClientUrls[0].Scheme == "unix"},
		{"2.3", !c.ClientAutoTLS},
		{"2.4", peers.CertFile == e.Certificate && peers.KeyFile == e.Key && c.ListenPeerUrls[0].Scheme == "https"},
		{"2.5", peers.ClientCertAuth},
		{"2.6", !c.PeerAutoTLS},
		{"2.7", peers.TrustedCAFile == e.CA},
	} {
		if !check.holds {
			t.Errorf("%s does not hold", check.number)
		}
	}
}
