package join

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/nodeconfig"
)

// accessPath gives persons a client certificate with all rights:
//
//	POST /skerry/v1/access  AccessRequest → AccessResponse
//
// The person proves to hold an access key of the node config by the TLS
// connection: its client certificate is one that the key signed for itself.
const accessPath = Prefix + "access"

// accessGroup is bound to all rights by Kubernetes itself.
const accessGroup = "system:masters"

// AccessRequest is what a person asks for.
type AccessRequest struct {
	CSR string `json:"csr"` // PEM; its subject is the server's business
}

// AccessResponse is what a person gets.
type AccessResponse struct {
	Certificate string `json:"certificate"` // PEM
}

// access gives a certificate to whoever holds an access key.
func (s *Server) access(w http.ResponseWriter, r *http.Request) {
	key, err := s.accessKey(r)
	if err != nil {
		slog.Warn("access was refused", "from", r.RemoteAddr, "why", err)
		refuse(w, http.StatusForbidden, err.Error())
		return
	}
	request, ok := decode[AccessRequest](w, r)
	if !ok {
		return
	}
	csr, err := parseCSR(request.CSR)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	user := "access:" + key.Fingerprint()
	certificate, err := s.ClientCA.Sign(pki.Subject{Name: user, Groups: []string{accessGroup}}, csr.PublicKey, s.Now())
	if err != nil {
		slog.Error("a person's certificate could not be made", "error", err)
		refuse(w, http.StatusInternalServerError, "the server could not make the certificate: see its log")
		return
	}
	slog.Info("access was given", "key", key.Fingerprint(), "name", key.Name, "from", r.RemoteAddr)
	answer(w, http.StatusOK, AccessResponse{Certificate: string(pki.EncodeCertificate(certificate))})
}

// accessKey returns the access key that the client holds.
func (s *Server) accessKey(r *http.Request) (nodeconfig.AccessKey, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nodeconfig.AccessKey{}, refusal("there is no client certificate of an access key")
	}
	public, ok := r.TLS.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return nodeconfig.AccessKey{}, refusal("the client's key is not an Ed25519 key")
	}
	for _, key := range s.AccessKeys {
		if bytes.Equal(public, key.Public[:]) {
			return key, nil
		}
	}
	return nodeconfig.AccessKey{}, refusal("the node config's access.keys do not have this key")
}

// csrType is that of the PEM block of a signing request (RFC 7468, section 7).
const csrType = "CERTIFICATE REQUEST"

// parseCSR reads a certificate signing request in PEM form.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != csrType {
		return nil, errors.New("the signing request is not in PEM form")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("the signing request: %w", err)
	}
	return csr, nil
}

// Access is a person who asks a server for a client certificate.
type Access struct {
	Server string // URL
	Key    ed25519.PrivateKey
	// CA is the SHA-256 of the server's CA in hexadecimal, if the person knows it.
	// Without, the first server that answers is believed, as ssh does; it
	// learns nothing from the person but the public key.
	CA string
}

// Ask returns the server's CA and a client certificate for a key.
func (a Access) Ask(ctx context.Context, key crypto.Signer) (ca *x509.Certificate, certificate []byte, err error) {
	if ca, err = fetchCA(ctx, a.Server); err != nil {
		return nil, nil, err
	}
	if found := pki.Digest(ca); a.CA != "" && a.CA != found {
		return nil, nil, fmt.Errorf("%w: the server's CA has SHA-256 %s, not %s", ErrRefused, found, a.CA)
	}
	own, err := selfSigned(a.Key)
	if err != nil {
		return nil, nil, err
	}
	csr, err := newCSR("", key)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	client := httpClient(&tls.Config{RootCAs: roots, ServerName: ServerName, MinVersion: tls.VersionTLS13,
		// The server names the authorities of its own clients, and this is none
		// of theirs: without being told to, TLS would send no certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	})
	got, err := post[AccessResponse](ctx, client, a.Server, accessPath, "", AccessRequest{CSR: csr})
	return ca, []byte(got.Certificate), err
}

// selfSigned is a certificate by which TLS proves that the client has the key.
func selfSigned(key ed25519.PrivateKey) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "access key"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
