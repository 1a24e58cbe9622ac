// Package join has machines become nodes of a cluster.
//
// A node's identity is its key, made on the node and never told. The node
// sends a signing request for the key with its name, and a token the first
// time; the server binds the name to that key. From then on the key alone is
// proof: a node that was off for a year needs no token, and no other machine
// gets certificates in its name until somebody deletes its Node object.
//
//	GET  /skerry/v1/ca     the CA's certificate, PEM. A token names its digest
//	POST /skerry/v1/nodes  Request → Response
package join

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Prefix is the path below which a server answers machines that join.
const Prefix = "/skerry/v1/"

const (
	caPath    = Prefix + "ca"
	nodesPath = Prefix + "nodes"

	largestMessage = 1 << 20 // bytes
	mostAddresses  = 64
)

// Request is what a node asks for.
type Request struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // IP addresses, for the kubelet's certificate
	CSR       string   `json:"csr"`       // PEM; its subject is the server's business
}

// check returns the request's certificate signing request once all of it holds.
func (r Request) check() (*x509.CertificateRequest, error) {
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	if len(r.Addresses) == 0 || len(r.Addresses) > mostAddresses {
		return nil, fmt.Errorf("the node has %d addresses: 1 to %d belong here", len(r.Addresses), mostAddresses)
	}
	if i := slices.IndexFunc(r.Addresses, func(a string) bool { return net.ParseIP(a) == nil }); i >= 0 {
		return nil, fmt.Errorf("%.64q is no IP address", r.Addresses[i])
	}
	return parseCSR(r.CSR)
}

// checkName refuses names that no machine can have. Names of the API server are
// among them: certificates of nodes carry their name, and are signed by the
// authority of the servers.
func checkName(name string) error {
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return fmt.Errorf("the node's name %.64q: %s", name, strings.Join(msgs, "; "))
	}
	if first, _, _ := strings.Cut(name, "."); first == "kubernetes" || first == "localhost" {
		return fmt.Errorf("the node's name %q is one of the API server: use another", name)
	}
	return nil
}

// Response is what a node gets: PEM certificates for its key, and what it must
// know of the cluster.
type Response struct {
	ClientCA string `json:"clientCA"` // whom the kubelet believes
	Kubelet  string `json:"kubelet"`  // client, system:node:NAME
	Serving  string `json:"serving"`  // server
	Proxy    string `json:"proxy"`    // client, kube-proxy and the node's network

	ClusterCIDR    string `json:"clusterCIDR"`
	ServiceCIDR    string `json:"serviceCIDR"`
	ClusterDNS     string `json:"clusterDNS"`
	ClusterDomain  string `json:"clusterDomain"`
	FlannelBackend string `json:"flannelBackend"`
	NetworkPolicy  bool   `json:"networkPolicy"`
	LocalStorage   bool   `json:"localStorage"`
	// Servers are the addresses of all servers, host:port.
	Servers []string `json:"servers"`
}

// failure is the body of an answer that is no success.
type failure struct {
	Error string `json:"error"`
}

// keyDigest names a public key: the SHA-256 of its SubjectPublicKeyInfo in
// hexadecimal.
func keyDigest(csr *x509.CertificateRequest) string {
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
