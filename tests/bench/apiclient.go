package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// kubeconfig is the part of such a file that names one server and one user,
// with all certificates in it. Kubernetes' own client is not used here: it would
// make this program as large as what is measured.
type kubeconfig struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Clusters   []kubeCluster `json:"clusters"`
	Users      []kubeUser    `json:"users"`
	Contexts   []kubeContext `json:"contexts"`
	Current    string        `json:"current-context"`
}

type kubeCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type kubeUser struct {
	Name string `json:"name"`
	User struct {
		Certificate []byte `json:"client-certificate-data"`
		Key         []byte `json:"client-key-data"`
	} `json:"user"`
}

type kubeContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// newKubeconfig describes a server (a URL) and a user by certificates and a key
// in PEM.
func newKubeconfig(server string, ca, certificate, key []byte) kubeconfig {
	const name = "bench"
	k := kubeconfig{
		APIVersion: "v1", Kind: "Config", Current: name,
		Clusters: []kubeCluster{{Name: name}}, Users: []kubeUser{{Name: name}}, Contexts: []kubeContext{{Name: name}},
	}
	k.Clusters[0].Cluster.Server, k.Clusters[0].Cluster.CA = server, ca
	k.Users[0].User.Certificate, k.Users[0].User.Key = certificate, key
	k.Contexts[0].Context.Cluster, k.Contexts[0].Context.User = name, name
	return k
}

func (k kubeconfig) write(path string) error {
	contents, err := yaml.Marshal(k)
	if err != nil {
		return err
	}
	return os.WriteFile(path, contents, 0o600)
}

// client asks one API server as one user.
type client struct {
	http   *http.Client
	server string
}

// newClient connects within a network as a kubeconfig says.
func newClient(n *network, path string) (*client, error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(contents, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return nil, fmt.Errorf("%s: there is not one server and one user", path)
	}
	user := k.Users[0].User
	pair, err := tls.X509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(k.Clusters[0].Cluster.CA) {
		return nil, fmt.Errorf("%s: it has no authority for the server", path)
	}
	return &client{server: k.Clusters[0].Cluster.Server, http: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext:       n.dial,
			TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
			ForceAttemptHTTP2: true,
		},
	}}, nil
}

const (
	requestTimeout = 30 * time.Second
	// pollInterval is how long what happens in a control plane may go
	// unnoticed.
	pollInterval = 20 * time.Millisecond
	// answerBytes bounds what is read of an answer.
	answerBytes = 1 << 20
)

const (
	asJSON  = "application/json"
	asPatch = "application/merge-patch+json"
)

// statusError is an answer that is no success.
type statusError struct {
	request string
	code    int
	body    string
}

func (e *statusError) Error() string { return fmt.Sprintf("%s: %d %s", e.request, e.code, e.body) }

// request sends an object, if there is one, and decodes the answer's, if it is
// wanted. An answer that is no success is a *statusError.
func (c *client) request(ctx context.Context, method, path, contentType string, object, answer any) error {
	var body io.Reader
	if object != nil {
		encoded, err := json.Marshal(object)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	contents, err := io.ReadAll(io.LimitReader(response.Body, answerBytes))
	if err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &statusError{method + " " + path, response.StatusCode, string(contents)}
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(contents, answer)
}

func (c *client) get(ctx context.Context, path string, answer any) error {
	return c.request(ctx, http.MethodGet, path, "", nil, answer)
}

// create makes an object; that it is there already is no error.
func (c *client) create(ctx context.Context, path string, object any) error {
	err := c.request(ctx, http.MethodPost, path, asJSON, object, nil)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusConflict {
		return nil
	}
	return err
}

func (c *client) patch(ctx context.Context, path string, change any) error {
	return c.request(ctx, http.MethodPatch, path, asPatch, change, nil)
}

// eventually calls a function until it succeeds. Its error is the function's
// last, when ctx ends.
func eventually(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(pollInterval):
		}
	}
}
