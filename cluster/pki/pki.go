// Package pki makes the keys and certificates of a cluster.
//
// Authorities and the key that signs service account tokens are made once and
// kept, 0600, on the disk of the server. Certificates of the components are
// made anew in memory-backed folders at every start of a process and again at
// two thirds of their life: nothing of them is worth keeping, and a server
// that was off for years comes back with valid ones.
//
// All keys are ECDSA on P-256: an RSA key costs as much processor time as all
// else a small server does at its start.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

const (
	// authorityLife outlives the hardware.
	authorityLife = 20 * 365 * 24 * time.Hour
	// CertificateLife is that of all other certificates.
	CertificateLife = 365 * 24 * time.Hour
	// backdate has certificates begin in the past: a machine whose clock is
	// a little late must not find them not yet valid.
	backdate = 24 * time.Hour
)

// Earliest is when authorities begin to be valid, whatever the clock says when
// they are made: if it was ahead, they have to be valid once it is right. A clock
// that is before it has not been set.
func Earliest() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// LoadOrMakeAuthority reads the authority of the given name from dir, or makes
// it there: NAME.crt and NAME.key. The two are written so that a power cut
// leaves either both or a key alone, which is then used.
func LoadOrMakeAuthority(dir, name string, now time.Time) (*Authority, error) {
	key, err := LoadOrMakeKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".crt")
	contents, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeAuthority(path, name, key, now)
	case err != nil:
		return nil, err
	}
	certificates, err := ParseCertificates(contents)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !publicEqual(certificates[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s is not for the key beside it: restore both from the same backup", path)
	}
	return &Authority{Certificate: certificates[0], Key: key}, nil
}

func makeAuthority(path, name string, key crypto.Signer, now time.Time) (*Authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "skerry-" + name},
		NotBefore:             Earliest(),
		NotAfter:              now.Add(authorityLife).UTC(),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(path, EncodeCertificate(certificate), 0o644); err != nil {
		return nil, err
	}
	return &Authority{Certificate: certificate, Key: key}, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return EncodeCertificate(a.Certificate) }

// Digest is the SHA-256 of the authority's certificate in hexadecimal, by which tokens name
// the cluster.
func (a *Authority) Digest() string { return Digest(a.Certificate) }

// Digest is the SHA-256 of a certificate's DER form in hexadecimal.
func Digest(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Subject says whom a certificate is for.
type Subject struct {
	Name   string   // common name: the user, or the host
	Groups []string // organizations: the user's groups
	Hosts  []string // names and addresses of a server; none for a client
	Peer   bool     // a server that is a client of others of its kind
}

// Sign certifies a public key. A subject with hosts gets a server's
// certificate, one without a client's, and a peer one that is good for both.
func (a *Authority) Sign(s Subject, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: s.Name, Organization: s.Groups},
		NotBefore:             latest(now.Add(-backdate), a.Certificate.NotBefore).UTC(),
		NotAfter:              now.Add(CertificateLife).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(s.Hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if s.Peer {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, host := range s.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, public, a.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issue makes a key and its certificate and writes them to NAME.key and
// NAME.crt in dir, replacing earlier ones.
func (a *Authority) Issue(dir, name string, s Subject, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	certificate, err := a.Sign(s, key.Public(), now)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	encoded, err := EncodeKey(key)
	if err != nil {
		return err
	}
	// Programs that follow the files read both again when the second one
	// changes; a pair that does not match they read again later.
	if err := atomicfile.Write(filepath.Join(dir, name+".key"), encoded, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, name+".crt"), EncodeCertificate(certificate), 0o644)
}

// LoadOrMakeKey reads a private key, or makes it.
func LoadOrMakeKey(path string) (crypto.Signer, error) {
	contents, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		encoded, err := EncodeKey(key)
		if err != nil {
			return nil, err
		}
		return key, atomicfile.Write(path, encoded, 0o600)
	}
	if err != nil {
		return nil, err
	}
	key, err := parseKey(contents)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func parseKey(contents []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(contents)
	if block == nil {
		return nil, errors.New("no PEM block: the file is damaged; restore it from a backup")
	}
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if signer, ok := parsed.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("a PEM block of type %q is no private key", block.Type)
}

// EncodeKey returns the PEM form of a key that every component of Kubernetes
// reads.
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// EncodeCertificate returns the PEM form.
func EncodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// ParseCertificates reads one or more certificates in PEM form.
func ParseCertificates(contents []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		block, contents = pem.Decode(contents)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block of type %q is no certificate", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return certificates, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func publicEqual(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
