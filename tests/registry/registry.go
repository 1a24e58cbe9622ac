// Package registry is a registry of container images for the system tests, as
// far as nodes pull from one: manifests and blobs (OCI distribution
// specification v1.1, "Pull"), for those who log in.
package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skerry-os/skerry/imageseed"
)

// Registry serves images on 127.0.0.1.
type Registry struct {
	// Host is its address and port.
	Host string
	// Gone has it answer nobody, as one that cannot be reached.
	Gone atomic.Bool

	username, password string
	manifests          map[string][]byte // by repository and tag or digest, as in agnhost:v1
	blobs              map[string]*io.SectionReader
}

// Serve serves until the test ends, to those who know the password.
func Serve(t testing.TB, username, password string) *Registry {
	t.Helper()
	r := &Registry{username: username, password: password, manifests: map[string][]byte{}, blobs: map[string]*io.SectionReader{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.Host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// Add adds an image that is one static program, to be pulled as
// REGISTRY/repository:tag. It is to be called before nodes pull.
func (r *Registry) Add(t testing.TB, repository, tag, architecture, program string) {
	t.Helper()
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	name := path.Base(repository)
	r.AddFiles(t, repository, tag, architecture, ocispec.ImageConfig{Entrypoint: []string{"/" + name}}, []imageseed.Entry{{
		Path: name, Mode: 0o755, Size: info.Size(),
		Open: func() (imageseed.Contents, error) { return os.Open(program) },
	}})
}

// AddFiles adds an image of these files, as Add does.
func (r *Registry) AddFiles(t testing.TB, repository, tag, architecture string, config ocispec.ImageConfig, entries []imageseed.Entry) {
	t.Helper()
	image, err := imageseed.Compose("registry.invalid/"+repository+":"+tag, architecture, config, entries)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := imageseed.NewLayer(entries)
	if err != nil {
		t.Fatal(err)
	}
	r.manifests[repository+":"+tag] = []byte(image.Manifest)
	r.manifests[repository+":"+image.ManifestDigest().String()] = []byte(image.Manifest)
	r.blobs[image.ConfigDigest().String()] = io.NewSectionReader(strings.NewReader(image.Config), 0, int64(len(image.Config)))
	r.blobs[image.Layer.Digest.String()] = io.NewSectionReader(layer, 0, layer.Size())
}

// ServeHTTP answers one request of the pull API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.Gone.Load() {
		panic(http.ErrAbortHandler) // the connection is closed
	}
	username, password, _ := request.BasicAuth()
	if username != r.username || password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	rest, ok := strings.CutPrefix(request.URL.Path, "/v2/")
	if !ok || request.Method != http.MethodGet && request.Method != http.MethodHead {
		http.NotFound(w, request)
		return
	}
	if rest == "" {
		return // that this is a registry
	}
	if repository, reference, ok := strings.Cut(rest, "/manifests/"); ok {
		if manifest, ok := r.manifests[repository+":"+reference]; ok {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(manifest).String())
			w.Write(manifest)
			return
		}
	}
	if _, sum, ok := strings.Cut(rest, "/blobs/"); ok {
		if blob, ok := r.blobs[sum]; ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, request, "", time.Time{}, io.NewSectionReader(blob, 0, blob.Size()))
			return
		}
	}
	http.NotFound(w, request)
}
