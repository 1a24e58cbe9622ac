package join

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/nodeconfig"
)

func newAccessKey(t *testing.T) (ed25519.PrivateKey, nodeconfig.AccessKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := nodeconfig.AccessKey{Name: "ops@example.com"}
	copy(public.Public[:], private.Public().(ed25519.PublicKey))
	return private, public
}

func TestTheHolderOfAnAccessKeyGetsAllRights(t *testing.T) {
	c := newCluster(t)
	private, public := newAccessKey(t)
	c.server.AccessKeys = []nodeconfig.AccessKey{public}
	own := newKey(t)
	ca, certificate, err := Access{Server: c.http.URL, Key: private}.Ask(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	if pki.Digest(ca) != c.server.ServerCA.Digest() {
		t.Error("it is another CA")
	}
	got := verify(t, string(certificate), c.server.ClientCA, x509.ExtKeyUsageClientAuth)
	if strings.Join(got.Subject.Organization, ",") != "system:masters" || got.Subject.CommonName != "access:"+public.Fingerprint() {
		t.Errorf("the person is %v", got.Subject)
	}
	if !own.PublicKey.Equal(got.PublicKey) {
		t.Error("the certificate is for another key")
	}
}

func TestAnyOtherKeyIsRefused(t *testing.T) {
	c := newCluster(t)
	_, public := newAccessKey(t)
	c.server.AccessKeys = []nodeconfig.AccessKey{public}
	stranger, _ := newAccessKey(t)
	if _, _, err := (Access{Server: c.http.URL, Key: stranger}).Ask(t.Context(), newKey(t)); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}

// A person who knows the CA tells another server nothing.
func TestAnotherServerIsNotAsked(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	private, public := newAccessKey(t)
	other.server.AccessKeys = []nodeconfig.AccessKey{public}
	access := Access{Server: other.http.URL, Key: private, CA: c.server.ServerCA.Digest()}
	if _, _, err := access.Ask(t.Context(), newKey(t)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("got %v", err)
	}
}
