package pki

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := LoadOrMakeAuthority(dir, "test-ca", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnAuthorityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, second := authority(t, dir), authority(t, dir)
	if first.Digest() != second.Digest() {
		t.Error("the authority was made anew")
	}
	info, err := os.Stat(filepath.Join(dir, "test-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", info.Mode())
	}
}

// A power cut between the two files leaves the key alone.
func TestAKeyWithoutACertificateIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir)
	key, err := os.ReadFile(filepath.Join(dir, "test-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "test-ca.crt")); err != nil {
		t.Fatal(err)
	}
	authority(t, dir)
	again, err := os.ReadFile(filepath.Join(dir, "test-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if string(key) != string(again) {
		t.Error("the key was made anew")
	}
}

func TestACertificateOfAnotherKeyIsRefused(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	authority(t, dir)
	authority(t, other)
	if err := os.Rename(filepath.Join(other, "test-ca.crt"), filepath.Join(dir, "test-ca.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeAuthority(dir, "test-ca", now); err == nil {
		t.Error("the pair was taken")
	}
}

func TestDamagedFilesAreNeverReplaced(t *testing.T) {
	for _, name := range []string{"test-ca.key", "test-ca.crt"} {
		dir := t.TempDir()
		authority(t, dir)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrMakeAuthority(dir, "test-ca", now); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if contents, _ := os.ReadFile(path); string(contents) != "damaged" {
			t.Errorf("%s was written over", name)
		}
	}
}

func TestOpenSSLBelievesServersAndClients(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is missing: run `make deps`")
	}
	dir := t.TempDir()
	a := authority(t, dir)
	for name, s := range map[string]Subject{
		"sslserver": {Name: "kube-apiserver", Hosts: []string{"kubernetes", "127.0.0.1", "2001:db8::1"}},
		"sslclient": {Name: "system:node:a", Groups: []string{"system:nodes"}},
	} {
		if err := a.Issue(dir, name, s, now); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("openssl", "verify", "-x509_strict", "-attime", "1772366400", "-purpose", name,
			"-CAfile", filepath.Join(dir, "test-ca.crt"), filepath.Join(dir, name+".crt")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestAServersCertificateNamesItsHostsAndNoClientsDo(t *testing.T) {
	a := authority(t, t.TempDir())
	key, err := LoadOrMakeKey(filepath.Join(t.TempDir(), "k"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.Sign(Subject{Name: "s", Hosts: []string{"a.example", "192.0.2.1"}}, key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	if server.VerifyHostname("a.example") != nil || server.VerifyHostname("192.0.2.1") != nil || server.VerifyHostname("b.example") == nil {
		t.Errorf("names %v, addresses %v", server.DNSNames, server.IPAddresses)
	}
	client, err := a.Sign(Subject{Name: "c", Groups: []string{"g"}}, key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(client.DNSNames)+len(client.IPAddresses) > 0 || client.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(client.ExtKeyUsage) > 1 {
		t.Errorf("the client's certificate is good for more: %+v", client)
	}
}

func TestAPeerIsServerAndClient(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, dir)
	if err := a.Issue(dir, "peer", Subject{Name: "a", Hosts: []string{"192.0.2.1"}, Peer: true}, now); err != nil {
		t.Fatal(err)
	}
	for _, purpose := range []string{"sslserver", "sslclient"} {
		out, err := exec.Command("openssl", "verify", "-x509_strict", "-attime", "1772366400", "-purpose", purpose,
			"-CAfile", filepath.Join(dir, "test-ca.crt"), filepath.Join(dir, "peer.crt")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", purpose, err, out)
		}
	}
}

// A clock that is behind must not find a certificate not yet valid, and none
// may begin before the authority that signed it.
func TestValidityBeginsInThePast(t *testing.T) {
	a := authority(t, t.TempDir())
	key, err := LoadOrMakeKey(filepath.Join(t.TempDir(), "k"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{now, now.Add(30 * 24 * time.Hour)} {
		c, err := a.Sign(Subject{Name: "c"}, key.Public(), at)
		if err != nil {
			t.Fatal(err)
		}
		if c.NotBefore.After(at.Add(-backdate)) || c.NotBefore.Before(a.Certificate.NotBefore) || !c.NotAfter.Equal(at.Add(CertificateLife)) {
			t.Errorf("made at %v: %v to %v", at, c.NotBefore, c.NotAfter)
		}
	}
}

func TestAnAuthorityOfAClockThatWasAheadIsValidNow(t *testing.T) {
	dir := t.TempDir()
	ahead, err := LoadOrMakeAuthority(dir, "ca", now.AddDate(3, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	key, err := LoadOrMakeKey(filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ahead.Sign(Subject{Name: "c"}, key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ahead.Certificate)
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}
