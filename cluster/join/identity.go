package join

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A node's client certificate names it as Kubernetes does ("Using Node
// Authorization").
const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// NodeName returns the name of the node whose client certificate came with a
// request, signed by one of the authorities.
func NodeName(r *http.Request, authorities *x509.CertPool, now time.Time) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", errors.New("there is no client certificate of a node")
	}
	intermediates := x509.NewCertPool()
	for _, c := range r.TLS.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	leaf := r.TLS.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: now,
	}); err != nil {
		return "", fmt.Errorf("the client certificate: %w", err)
	}
	name, ok := strings.CutPrefix(leaf.Subject.CommonName, nodePrefix)
	if !ok || !slices.Contains(leaf.Subject.Organization, nodesGroup) {
		return "", fmt.Errorf("%q is no node", leaf.Subject.CommonName)
	}
	return name, nil
}
