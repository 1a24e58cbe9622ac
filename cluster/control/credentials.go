package control

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/certificates"
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// authorities are what the cluster's trust hangs on. They are made once.
type authorities struct {
	server          *pki.Authority // of the API server and the kubelets
	client          *pki.Authority // of users, components and nodes
	frontProxy      *pki.Authority // of the API server towards its extensions
	etcd            *pki.Authority // of the members of etcd towards each other
	serviceAccounts crypto.Signer
}

const etcdCA = "etcd-ca"

// authorityNames are the files of the authorities, without their ending.
var authorityNames = []string{"server-ca", "client-ca", "front-proxy-ca", etcdCA}

// serviceAccountKey signs the tokens of service accounts.
const serviceAccountKey = "service-account.key"

func loadAuthorities(dir string, now time.Time) (*authorities, error) {
	a := new(authorities)
	for i, into := range []**pki.Authority{&a.server, &a.client, &a.frontProxy, &a.etcd} {
		authority, err := pki.LoadOrMakeAuthority(dir, authorityNames[i], now)
		if err != nil {
			return nil, err
		}
		*into = authority
	}
	var err error
	a.serviceAccounts, err = pki.LoadOrMakeKey(filepath.Join(dir, serviceAccountKey))
	return a, err
}

// tls is a path among the authorities.
func (c *Control) tls(name string) string { return c.ServerDir("tls", name) }

// cred is a path among the credentials that every start makes anew.
func (c *Control) cred(name string) string { return c.RunFile("control", name) }

// localURL is the API server for this machine's own programs.
func localURL() string { return fmt.Sprintf("https://127.0.0.1:%d", config.Port) }

// users are the programs on this machine that talk to the API server.
var users = map[string]pki.Subject{
	"admin":              {Name: "system:admin", Groups: []string{"system:masters"}},
	"controller-manager": {Name: "system:kube-controller-manager"},
	"scheduler":          {Name: "system:kube-scheduler"},
	// The API server towards kubelets. A role binding gives it what it needs.
	"kubelet-client": {Name: "system:kube-apiserver", Groups: []string{"skerry:apiserver"}},
}

// writeCredentials makes the certificates of the components and the files by
// which they find each other.
func (c *Control) writeCredentials(now time.Time) (ends time.Time, err error) {
	for name, subject := range users {
		if err := c.authorities.client.Issue(c.RunFile("control"), name, subject, now); err != nil {
			return ends, err
		}
		path, file := kubeconfig.Named(c.RunFile("control"), name, localURL(), c.tls("server-ca.crt"))
		if err := file.Write(path); err != nil {
			return ends, err
		}
	}
	if err := c.authorities.frontProxy.Issue(c.RunFile("control"), "front-proxy", pki.Subject{Name: "system:front-proxy"}, now); err != nil {
		return ends, err
	}
	if c.Several() {
		member := pki.Subject{Name: c.NodeName, Hosts: []string{c.NodeName, c.Address}, Peer: true}
		if err := c.authorities.etcd.Issue(c.RunFile("control"), "etcd", member, now); err != nil {
			return ends, err
		}
	}
	serving := pki.Subject{Name: "kube-apiserver", Hosts: c.servingHosts()}
	if err := c.authorities.server.Issue(c.RunFile("control"), "serving", serving, now); err != nil {
		return ends, err
	}
	return now.Add(pki.CertificateLife), c.writePersonsKubeconfig()
}

// writePersonsKubeconfig makes the file with which a person uses the cluster.
func (c *Control) writePersonsKubeconfig() error {
	if c.WriteKubeconfig == "" {
		return nil
	}
	_, file := kubeconfig.Named(c.RunFile("control"), "admin", localURL(), c.tls("server-ca.crt"))
	embedded, err := file.Embed()
	if err != nil {
		return err
	}
	return embedded.Write(c.WriteKubeconfig)
}

// servingHosts are the names and addresses of the API server.
func (c *Control) servingHosts() []string {
	hosts := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.ClusterDomain,
		"localhost", "127.0.0.1", "::1", c.NodeName, c.APIService(),
	}
	if c.Address != "" {
		hosts = append(hosts, c.Address)
	}
	if c.NodeIP != "" && c.NodeIP != c.Address {
		hosts = append(hosts, c.NodeIP)
	}
	return append(hosts, c.TLSSAN...)
}

// renew makes the credentials anew when it is time or somebody asks. The components read the
// files again by themselves.
func (c *Control) renew(ctx context.Context, ends time.Time) error {
	asked, err := certificates.Requests(ctx, c.Config)
	if err != nil {
		return err
	}
	pki.Renew(ctx, ends, asked, func() (time.Time, error) { return c.writeCredentials(time.Now()) })
	return nil
}

// makeTokens makes the cluster's first tokens.
func (c *Control) makeTokens() error {
	for _, role := range []string{jointoken.Server, jointoken.Agent} {
		path := c.JoinTokenFile(role)
		if _, err := os.Stat(path); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made := jointoken.New(c.authorities.server.Digest(), role)
		if err := atomicfile.Write(path, []byte(made.String()+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// encryptionFile says how Secrets are kept in the datastore.
func (c *Control) encryptionFile() string { return c.ServerDir("encryption.yaml") }

// makeEncryption makes the key with which Secrets are encrypted at rest.
func (c *Control) makeEncryption() error {
	if _, err := os.Stat(c.encryptionFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var key [32]byte
	rand.Read(key[:]) // never fails
	contents := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - name: key1
        secret: %s
  - identity: {}
`, base64.StdEncoding.EncodeToString(key[:]))
	return atomicfile.Write(c.encryptionFile(), []byte(contents), 0o600)
}
