package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// cluster is a server that machines can join.
type cluster struct {
	server *Server
	http   *httptest.Server
	token  jointoken.Token
	ready  bool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	authority := func(name string) *pki.Authority {
		a, err := pki.LoadOrMakeAuthority(t.TempDir(), name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	c := &cluster{ready: true}
	keys := SecretKeys{Client: fake.NewClientset()}
	c.server = &Server{
		ServerCA: authority("server-ca"), ClientCA: authority("client-ca"), Now: time.Now,
		Cluster: func() Response {
			return Response{ClusterDomain: "cluster.local", ServiceCIDR: "10.43.0.0/16", Servers: []string{"192.0.2.1:6443", "192.0.2.2:6443"}}
		},
		Tokens: func() ([]Token, error) { return []Token{known(c.token)}, nil },
		Keys: func() Keys {
			if !c.ready {
				return nil
			}
			return keys
		},
	}
	c.token = jointoken.New(c.server.ServerCA.Digest(), jointoken.Agent)
	dir := t.TempDir()
	if err := c.server.ServerCA.Issue(dir, "serving", pki.Subject{Name: "s", Hosts: []string{ServerName}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "serving.crt"), filepath.Join(dir, "serving.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.http = httptest.NewUnstartedServer(c.server)
	clients := x509.NewCertPool()
	clients.AddCert(c.server.ClientCA.Certificate)
	c.http.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, ClientCAs: clients}
	c.http.StartTLS()
	t.Cleanup(c.http.Close)
	return c
}

// known is what a cluster knows of a token.
func known(t jointoken.Token) Token { return Token{ID: t.Role, Role: t.Role, digest: secretDigest(t)} }

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := pki.LoadOrMakeKey(filepath.Join(t.TempDir(), "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

// join asks as a node does.
func (c *cluster) join(t *testing.T, name, secret string, key *ecdsa.PrivateKey) (Response, error) {
	t.Helper()
	client := Client{Server: c.http.URL, CA: c.server.ServerCA.PEM(), Token: secret}
	return client.Join(t.Context(), name, []string{"192.0.2.7"}, key)
}

func TestANodeGetsCertificatesForItsOwnNameOnly(t *testing.T) {
	c := newCluster(t)
	got, err := c.join(t, "shop-17", c.token.String(), newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	kubelet := verify(t, got.Kubelet, c.server.ClientCA, x509.ExtKeyUsageClientAuth)
	if kubelet.Subject.CommonName != "system:node:shop-17" || strings.Join(kubelet.Subject.Organization, ",") != "system:nodes" {
		t.Errorf("the kubelet is %v", kubelet.Subject)
	}
	proxy := verify(t, got.Proxy, c.server.ClientCA, x509.ExtKeyUsageClientAuth)
	if proxy.Subject.CommonName != "system:kube-proxy" {
		t.Errorf("kube-proxy is %v", proxy.Subject)
	}
	serving := verify(t, got.Serving, c.server.ServerCA, x509.ExtKeyUsageServerAuth)
	if serving.VerifyHostname("192.0.2.7") != nil || serving.VerifyHostname("192.0.2.8") == nil {
		t.Errorf("the kubelet serves %v", serving.IPAddresses)
	}
	if got.ClientCA != string(c.server.ClientCA.PEM()) || got.ClusterDomain != "cluster.local" {
		t.Errorf("told %+v", got)
	}
}

func verify(t *testing.T, text string, by *pki.Authority, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	certificates, err := pki.ParseCertificates([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(by.Certificate)
	if _, err := certificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		t.Fatal(err)
	}
	return certificates[0]
}

func TestAKnownKeyNeedsNoToken(t *testing.T) {
	c := newCluster(t)
	key := newKey(t)
	if _, err := c.join(t, "shop-17", "", key); !errors.Is(err, ErrRefused) {
		t.Fatalf("without a token: %v", err)
	}
	if _, err := c.join(t, "shop-17", c.token.String(), key); err != nil {
		t.Fatal(err)
	}
	c.token = jointoken.New(c.token.CA, jointoken.Agent) // the first one is revoked
	if _, err := c.join(t, "shop-17", "", key); err != nil {
		t.Errorf("by its key: %v", err)
	}
}

func TestANameBelongsToTheFirstKey(t *testing.T) {
	c := newCluster(t)
	if _, err := c.join(t, "shop-17", c.token.String(), newKey(t)); err != nil {
		t.Fatal(err)
	}
	thief := newKey(t)
	_, err := c.join(t, "shop-17", c.token.String(), thief)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "kubectl delete node shop-17") {
		t.Fatalf("with a good token: %v", err)
	}
	if err := c.server.Keys().(SecretKeys).Forget(context.Background(), "shop-17"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.join(t, "shop-17", c.token.String(), thief); err != nil {
		t.Errorf("once the name is free: %v", err)
	}
}

func TestAWrongTokenIsRefused(t *testing.T) {
	c := newCluster(t)
	for name, secret := range map[string]string{
		"another secret": jointoken.New(c.token.CA, jointoken.Agent).String(),
		"another role":   jointoken.Token{CA: c.token.CA, Role: jointoken.Server, Secret: c.token.Secret}.String(),
		"no token":       "hello",
	} {
		if _, err := c.join(t, "shop-17", secret, newKey(t)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAServerThatStartsIsAskedAgain(t *testing.T) {
	c := newCluster(t)
	c.ready = false
	if _, err := c.join(t, "shop-17", c.token.String(), newKey(t)); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v: a node must not give up", err)
	}
}

func TestOnlyTheCAThatTheTokenNamesIsBelieved(t *testing.T) {
	c := newCluster(t)
	ca, err := FetchCA(t.Context(), c.http.URL, c.token)
	if err != nil {
		t.Fatal(err)
	}
	if string(ca) != string(c.server.ServerCA.PEM()) {
		t.Error("it is another certificate")
	}
	other := newCluster(t)
	if _, err := FetchCA(t.Context(), other.http.URL, c.token); !errors.Is(err, ErrRefused) {
		t.Errorf("another cluster: %v", err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	c := newCluster(t)
	client := c.http.Client()
	client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	for name, body := range map[string]string{
		"no JSON":        "{",
		"no CSR":         `{"name":"a","addresses":["192.0.2.1"],"csr":""}`,
		"a bad name":     `{"name":"../../etc","addresses":["192.0.2.1"],"csr":""}`,
		"no address":     `{"name":"a","addresses":[],"csr":""}`,
		"the API's name": `{"name":"kubernetes.default.svc","addresses":["192.0.2.1"],"csr":""}`,
		"a bad address":  `{"name":"a","addresses":["kubernetes.default"],"csr":""}`,
		"too much":       `{"name":"` + strings.Repeat("a", largestMessage) + `"}`,
	} {
		answer, err := client.Post(c.http.URL+nodesPath, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, answer.StatusCode)
		}
	}
}

func TestAnAddressOfServicesIsNoNodes(t *testing.T) {
	c := newCluster(t)
	client := Client{Server: c.http.URL, CA: c.server.ServerCA.PEM(), Token: c.token.String()}
	for _, address := range []string{"10.43.0.1", "::ffff:10.43.0.1"} {
		if _, err := client.Join(t.Context(), "shop-17", []string{address}, newKey(t)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "Services") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestThereIsNothingElse(t *testing.T) {
	c := newCluster(t)
	client := c.http.Client()
	client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	for path, want := range map[string]int{Prefix + "other": http.StatusNotFound, nodesPath: http.StatusNotFound, caPath: http.StatusOK} {
		answer, err := client.Get(c.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, answer.StatusCode, want)
		}
	}
}

func TestABindingWithoutAKeyIsAnError(t *testing.T) {
	keys := SecretKeys{Client: fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "node-key-a", Namespace: keyNamespace}})}
	if _, err := keys.Bound(t.Context(), "a"); err == nil {
		t.Error("an empty binding would let anybody in")
	}
}
