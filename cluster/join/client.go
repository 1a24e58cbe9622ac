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
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/jointoken"
)

// ErrRefused is wrapped by errors that asking again does not mend: a person
// has to do something.
var ErrRefused = errors.New("the server refused this machine")

const requestTimeout = 20 * time.Second

// FetchCA asks a server for its CA and believes it only if the token names it.
func FetchCA(ctx context.Context, server string, t jointoken.Token) ([]byte, error) {
	ca, err := fetchCA(ctx, server)
	if err != nil {
		return nil, err
	}
	if found := pki.Digest(ca); found != t.CA {
		return nil, fmt.Errorf("%w: the server's CA has SHA-256 %s and the token names %s: it is another cluster, or somebody is in between", ErrRefused, found, t.CA)
	}
	return pki.EncodeCertificate(ca), nil
}

// fetchCA asks a server for its CA. Nothing is told to the server, and nobody
// vouches for the answer.
func fetchCA(ctx context.Context, server string) (*x509.Certificate, error) {
	client := httpClient(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
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
	return certificates[0], nil
}

// ownAddress is from where the net package says that it tried something.
var ownAddress = regexp.MustCompile(`\S+:\d+->`)

// Reason is the text of an error without the address from which it was tried, for
// that has another port each time.
func Reason(err error) string { return ownAddress.ReplaceAllString(err.Error(), "") }

// Client is a machine that asks a server.
type Client struct {
	Server string // URL
	CA     []byte // PEM
	Token  string // may be empty for a node whose key is known
}

// Join asks for certificates of a key.
func (c Client) Join(ctx context.Context, name string, addresses []string, key crypto.Signer) (Response, error) {
	csr, err := newCSR(name, key)
	if err != nil {
		return Response{}, err
	}
	client, err := c.http()
	if err != nil {
		return Response{}, err
	}
	return post[Response](ctx, client, c.Server, nodesPath, c.Token, Request{Name: name, Addresses: addresses, CSR: csr})
}

// newCSR is a signing request for a key in PEM form.
func newCSR(name string, key crypto.Signer) (string, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: csrType, Bytes: csr})), nil
}

// get asks and returns the answer.
func get[Answer any](ctx context.Context, client *http.Client, server, path string) (Answer, error) {
	var answer Answer
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+path, nil)
	if err != nil {
		return answer, err
	}
	told, err := do(client, request)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(told, &answer); err != nil {
		return answer, fmt.Errorf("what %s answers cannot be read: %w", server, err)
	}
	return answer, nil
}

// post sends a question, with a token if there is one, and returns the answer.
func post[Answer any](ctx context.Context, client *http.Client, server, path, token string, question any) (Answer, error) {
	var answer Answer
	body, err := json.Marshal(question)
	if err != nil {
		return answer, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	told, err := do(client, request)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(told, &answer); err != nil {
		return answer, fmt.Errorf("what %s answers cannot be read: %w", server, err)
	}
	return answer, nil
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
