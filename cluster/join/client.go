package join

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/cluster/token"
)

// ErrRefused is wrapped by errors that asking again does not mend: a person
// has to do something.
var ErrRefused = errors.New("the server refused this node")

const requestTimeout = 20 * time.Second

// FetchCA asks a server for its CA and believes it only if the token names it.
func FetchCA(ctx context.Context, server string, t token.Token) ([]byte, error) {
	// Nothing is told to the server here, and its answer is checked below.
	client := httpClient(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+caPath, nil)
	if err != nil {
		return nil, err
	}
	body, err := do(client, request)
	if err != nil {
		return nil, err
	}
	certificates, err := pki.ParseCertificates(body)
	if err != nil {
		return nil, fmt.Errorf("the CA of %s: %w", server, err)
	}
	if err := t.Verify(certificates[0]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return pki.EncodeCertificate(certificates[0]), nil
}

// Client is a node that asks for its certificates.
type Client struct {
	Server string // URL
	CA     []byte // PEM
	Token  string // may be empty for a node whose key is known
}

// Join asks for certificates of a key.
func (c Client) Join(ctx context.Context, name string, addresses []string, key crypto.Signer) (Response, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return Response{}, err
	}
	body, err := json.Marshal(Request{
		Name: name, Addresses: addresses,
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
	})
	if err != nil {
		return Response{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CA) {
		return Response{}, errors.New("the CA's certificate cannot be read")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Server, "/")+nodesPath, bytes.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	answer, err := do(httpClient(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), request)
	if err != nil {
		return Response{}, err
	}
	var response Response
	if err := json.Unmarshal(answer, &response); err != nil {
		return Response{}, fmt.Errorf("what %s answers cannot be read: %w", c.Server, err)
	}
	return response, nil
}

func httpClient(config *tls.Config) *http.Client {
	return &http.Client{Timeout: requestTimeout, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// do sends a request and returns the body of a success.
func do(client *http.Client, request *http.Request) ([]byte, error) {
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestMessage))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return body, nil
	}
	var told failure
	if json.Unmarshal(body, &told) != nil || told.Error == "" {
		told.Error = answer.Status
	}
	if answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusBadRequest {
		return nil, fmt.Errorf("%w: %s", ErrRefused, told.Error)
	}
	return nil, fmt.Errorf("%s: %s", request.URL.Host, told.Error)
}
