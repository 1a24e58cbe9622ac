package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// start is the moment at which the tests' archive is published.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testKey is a key that signs archives.
type testKey struct {
	entity  *openpgp.Entity
	keyring string // path
}

func newKey(t testing.TB, made time.Time) testKey {
	t.Helper()
	config := &packet.Config{Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoEdDSA}
	e, err := openpgp.NewEntity("Test Archive", "", "archive@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return testKey{e, path}
}

func (k testKey) sign(t testing.TB, text string, at time.Time) []byte {
	t.Helper()
	var b bytes.Buffer
	config := &packet.Config{Time: func() time.Time { return at }}
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// mirror is an archive served over HTTP, whose answers a test can change.
type mirror struct {
	*httptest.Server
	t     testing.TB
	key   testKey
	mu    sync.Mutex
	files map[string][]byte
	// answer, if set, may answer a request in its own way.
	answer   func(w http.ResponseWriter, r *http.Request) bool
	requests []string
}

func newMirror(t testing.TB) *mirror {
	m := &mirror{t: t, key: newKey(t, start.AddDate(-1, 0, 0)), files: map[string][]byte{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.requests = append(m.requests, r.URL.Path)
	body, ok := m.files[r.URL.Path]
	answer := m.answer
	m.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write(body)
}

func (m *mirror) put(path string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = body
}

// asked returns the requests since it was called last.
func (m *mirror) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.requests
	m.requests = nil
	return r
}

// suiteFiles is one suite to publish.
type suiteFiles struct {
	root     string // /debian or /debian-security
	name     string
	packages string            // Packages of main, amd64
	fields   map[string]string // of Release, over the usual ones
	byHash   bool              // also publish only under by-hash
}

// publish puts a signed suite on the mirror.
func (m *mirror) publish(s suiteFiles) {
	m.t.Helper()
	packed := xzPack(m.t, []byte(s.packages))
	fields := map[string]string{
		"Origin": "Debian", "Suite": strings.Replace(s.name, "trixie", "stable", 1), "Codename": s.name,
		"Date": start.Format("Mon, 02 Jan 2006 15:04:05 UTC"), "Architectures": "all amd64 arm64", "Components": "main contrib",
		"MD5Sum": "\n d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages",
		"SHA256": fmt.Sprintf("\n %s %d main/binary-amd64/Packages\n %s %d main/binary-amd64/Packages.xz",
			sum([]byte(s.packages)), len(s.packages), sum(packed), len(packed)),
	}
	for name, value := range s.fields {
		fields[name] = value
	}
	var text strings.Builder
	for _, name := range []string{"Origin", "Suite", "Codename", "Date", "Valid-Until", "Acquire-By-Hash", "Architectures", "Components", "MD5Sum", "SHA256"} {
		if fields[name] != "" {
			fmt.Fprintf(&text, "%s: %s\n", name, fields[name])
		}
	}
	dists := s.root + "/dists/" + s.name + "/"
	m.put(dists+"InRelease", m.key.sign(m.t, text.String(), start))
	if s.byHash {
		m.put(dists+"main/binary-amd64/by-hash/SHA256/"+sum(packed), packed)
	} else {
		m.put(dists+"main/binary-amd64/Packages.xz", packed)
	}
}

// publishAll puts the three suites on the mirror, with these packages in the first.
func (m *mirror) publishAll(packages string) {
	m.t.Helper()
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: packages})
	m.publish(suiteFiles{root: "/debian", name: "trixie-updates", packages: stanza("tzdata", "2026b", "")})
	m.publish(suiteFiles{root: "/debian-security", name: "trixie-security", packages: stanza("openssl", "3.5-1+deb13u2", "")})
}

func (m *mirror) options(t testing.TB) Options {
	t.Helper()
	mirrors, err := MirrorsAt(m.URL + "/debian/")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Fetcher:      Fetcher{Mirrors: mirrors, Cache: filepath.Join(t.TempDir(), "cache")},
		Suite:        "trixie",
		Architecture: "amd64",
		Keyring:      m.key.keyring,
		Now:          func() time.Time { return start.Add(time.Hour) },
	}
}

func open(t testing.TB, o Options) *Archive {
	t.Helper()
	a, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// stanza writes one package as an index has it; extra are more fields.
func stanza(name, version, extra string) string {
	s := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: Some One <x@example.org>\nDescription: a\n text that\n goes on\n"+
		"Filename: pool/main/%s_%s_amd64.deb\nSize: 10\nSHA256: %s\n", name, version, name, version, sum([]byte(name+version)))
	if extra != "" {
		s += extra + "\n"
	}
	return s + "\n"
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func xzPack(t testing.TB, b []byte) []byte { return filter(t, b, "xz", "-0", "-c") }

func filter(t testing.TB, b []byte, command string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(command, args...)
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s is needed: %v", command, err)
	}
	return out
}

// member is one of an ar archive.
type member struct {
	name string
	body []byte
}

func ar(members ...member) []byte {
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func deb(suffix string, data []byte) []byte {
	return ar(member{"debian-binary", []byte("2.0\n")}, member{"control.tar.xz", []byte("odd")}, member{"data.tar" + suffix, data})
}

func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := h.PAXRecords["body"]
		h.PAXRecords = nil
		h.Size = int64(len(body))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// body carries a file's contents to tarball.
func body(s string) map[string]string { return map[string]string{"body": s} }

// noTemporaries fails when a cache holds anything that is not complete.
func noTemporaries(t testing.TB, cache string) {
	t.Helper()
	err := filepath.WalkDir(cache, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(p, "part-") {
			t.Errorf("%s was left in the cache", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
