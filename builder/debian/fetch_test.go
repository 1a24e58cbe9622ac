package debian

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// debs puts n packages of a size on the mirror and returns their records.
func (m *mirror) debs(n, size int) []Package {
	var all []Package
	for i := range n {
		contents := bytes.Repeat([]byte{byte(i), 1, 2, 3}, size/4)
		p := Package{
			Name: fmt.Sprintf("pkg%d", i), Version: "1+x", Architecture: "amd64",
			Filename: fmt.Sprintf("pool/main/p/pkg%d_1+x~y_amd64.deb", i), Size: int64(len(contents)), SHA256: sum(contents),
		}
		m.put("/debian/"+p.Filename, contents)
		all = append(all, p)
	}
	return all
}

func TestFetchRepeatsFromARecordAlone(t *testing.T) {
	m := newMirror(t)
	want := m.debs(6, 100_000)
	security := want[0]
	m.put("/debian-security/"+security.Filename, m.files["/debian/"+security.Filename])
	delete(m.files, "/debian/"+security.Filename)
	record, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var locked []Package
	if err := json.Unmarshal(record, &locked); err != nil {
		t.Fatal(err)
	}
	f := m.options(t).Fetcher
	var done, total int64
	f.Progress = func(name string, d, n int64) {
		if !strings.HasPrefix(name, "pkg") || d <= done || d > n {
			t.Errorf("%s: %d of %d bytes after %d", name, d, n, done)
		}
		done, total = d, n
	}
	paths, err := f.Fetch(context.Background(), locked)
	if err != nil {
		t.Fatal(err)
	}
	if done != 600_000 || total != 600_000 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	for _, p := range want {
		b, err := os.ReadFile(paths[p.Name])
		if err != nil || sum(b) != p.SHA256 {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	noTemporaries(t, f.Cache)
	m.asked()
	if _, err := f.Fetch(context.Background(), locked); err != nil || len(m.asked()) != 0 {
		t.Errorf("from a full cache: %v", err)
	}
}

func TestFetchAsksTheSecurityMirrorFirstForItsPool(t *testing.T) {
	m := newMirror(t)
	p := m.debs(1, 100)[0]
	contents := m.files["/debian/"+p.Filename]
	p.Filename = "pool/updates/main/p/x.deb"
	m.put("/debian-security/"+p.Filename, contents)
	f := m.options(t).Fetcher
	if _, err := f.Fetch(context.Background(), []Package{p}); err != nil {
		t.Fatal(err)
	}
	if asked := m.asked(); len(asked) != 1 {
		t.Errorf("requests: %v", asked)
	}
}

func TestFetchRefusesLies(t *testing.T) {
	whole := func(body []byte) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool { w.Write(body); return true }
	}
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request) bool
		is     error
		says   string
	}{
		{"other bytes", whole(make([]byte, 1000)), errWrongContent, "SHA-256"},
		{"too few bytes", whole(make([]byte, 999)), errWrongContent, "999 bytes instead of 1000"},
		{"too many bytes", whole(make([]byte, 1001)), errWrongContent, "1001 bytes instead of 1000"},
		{"a body without end", func(w http.ResponseWriter, r *http.Request) bool {
			for i := 0; i < 1000; i++ {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return true
				}
				w.(http.Flusher).Flush()
			}
			t.Error("the client read a body without end")
			return true
		}, errWrongContent, "more than 1000 bytes"},
		{"a connection that breaks", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			w.Write(make([]byte, 500))
			return true
		}, errWrongContent, "ended after 500 of 1000 bytes"},
		{"an error", func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
			return true
		}, nil, "503 Service Unavailable"},
		{"a redirect to another scheme", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
			return true
		}, nil, "redirects from http to file"},
		{"redirects in circles", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}, nil, "redirects in circles"},
		{"nothing of the kind", func(w http.ResponseWriter, r *http.Request) bool {
			http.NotFound(w, r)
			return true
		}, errNotFound, "mirrors drop versions"},
	} {
		m := newMirror(t)
		p := m.debs(1, 1000)[0]
		m.answer = c.answer
		f := m.options(t).Fetcher
		_, err := f.Fetch(context.Background(), []Package{p})
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), "fetch package pkg0 1+x") {
			t.Errorf("%s: got %v", c.name, err)
		}
		noTemporaries(t, f.Cache)
		if names, _ := filepath.Glob(f.Cache + "/deb/*"); len(names) > 0 {
			t.Errorf("%s: the cache has %v", c.name, names)
		}
	}
}

func TestFetchTriesAgainAfterABrokenConnection(t *testing.T) {
	m := newMirror(t)
	packages := m.debs(1, 1000)
	first := true
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !first {
			return false
		}
		first = false
		w.Header().Set("Content-Length", "1000")
		w.Write(make([]byte, 10))
		return true
	}
	f := m.options(t).Fetcher
	if _, err := f.Fetch(context.Background(), packages); err != nil {
		t.Error(err)
	}
}

func TestFetchFollowsRedirectsWithinAScheme(t *testing.T) {
	m := newMirror(t)
	p := m.debs(1, 1000)[0]
	m.put("/elsewhere", m.files["/debian/"+p.Filename])
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/elsewhere" {
			return false
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return true
	}
	f := m.options(t).Fetcher
	if _, err := f.Fetch(context.Background(), []Package{p}); err != nil {
		t.Error(err)
	}
}

func TestFetchGivesUpOnAMirrorThatIsSilent(t *testing.T) {
	for _, sent := range []int{0, 10} {
		m := newMirror(t)
		p := m.debs(1, 1000)[0]
		m.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if sent > 0 {
				w.Header().Set("Content-Length", "1000")
				w.Write(make([]byte, sent))
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
			return true
		}
		f := m.options(t).Fetcher
		f.Mirrors.Security = ""
		f.IdleTimeout = 50 * time.Millisecond
		_, err := f.Fetch(context.Background(), []Package{p})
		if !errors.Is(err, errStalled) || !strings.Contains(err.Error(), "sends nothing for 50ms") {
			t.Errorf("after %d bytes: got %v", sent, err)
		}
		noTemporaries(t, f.Cache)
	}
}

func TestFetchDoesNotGiveUpOnAMirrorThatIsSlow(t *testing.T) {
	m := newMirror(t)
	p := m.debs(1, 40)[0]
	contents := m.files["/debian/"+p.Filename]
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		for _, b := range contents {
			w.Write([]byte{b})
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
		return true
	}
	f := m.options(t).Fetcher
	f.IdleTimeout = 500 * time.Millisecond // less than the 800 ms of the whole body
	if _, err := f.Fetch(context.Background(), []Package{p}); err != nil {
		t.Error(err)
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	m := newMirror(t)
	packages := m.debs(8, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		w.Write(make([]byte, 10))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	f := m.options(t).Fetcher
	if _, err := f.Fetch(ctx, packages); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	noTemporaries(t, f.Cache)
}

func TestFetchesAtTheSameTimeShareTheCache(t *testing.T) {
	m := newMirror(t)
	packages := m.debs(20, 200_000)
	f := m.options(t).Fetcher
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			own := f
			paths, err := own.Fetch(context.Background(), packages)
			if err != nil {
				t.Error(err)
				return
			}
			for _, p := range packages {
				if b, err := os.ReadFile(paths[p.Name]); err != nil || sum(b) != p.SHA256 {
					t.Errorf("%s: %v", p, err)
				}
			}
		})
	}
	wait.Wait()
	noTemporaries(t, f.Cache)
}

func TestFetchReplacesACachedFileOfAnotherSize(t *testing.T) {
	m := newMirror(t)
	packages := m.debs(1, 1000)
	f := m.options(t).Fetcher
	paths, err := f.Fetch(context.Background(), packages)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(paths["pkg0"], 10); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(context.Background(), packages); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(paths["pkg0"]); sum(b) != packages[0].SHA256 {
		t.Error("the file was not replaced")
	}
}

func TestFetchSweepsWhatKilledBuildsHaveLeft(t *testing.T) {
	m := newMirror(t)
	f := m.options(t).Fetcher
	if _, err := openStore(f.Cache); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"part-old": 25 * time.Hour, "part-running": 23 * time.Hour} {
		path := filepath.Join(f.Cache, "tmp", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Fetch(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(f.Cache + "/tmp/*")
	if len(names) != 1 || filepath.Base(names[0]) != "part-running" {
		t.Errorf("left: %v", names)
	}
}

func TestFetchReadsALocalMirror(t *testing.T) {
	m := newMirror(t)
	packages := m.debs(1, 1000)
	root := t.TempDir()
	path := filepath.Join(root, "debian", packages[0].Filename)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, m.files["/debian/"+packages[0].Filename], 0o644); err != nil {
		t.Fatal(err)
	}
	f := m.options(t).Fetcher
	var err error
	if f.Mirrors, err = MirrorsAt("file:" + root + "/debian"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fetch(context.Background(), packages); err != nil {
		t.Error(err)
	}
	if asked := m.asked(); len(asked) != 0 {
		t.Errorf("requests: %v", asked)
	}
}

func TestFetchRefusesRecordsThatAreNoRecords(t *testing.T) {
	good := Package{Name: "ok", Version: "1", Architecture: "amd64", Filename: "pool/x.deb", Size: 1, SHA256: sum(nil)}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Package){
		"no name":              func(p *Package) { p.Name = "" },
		"a name with slashes":  func(p *Package) { p.Name = "../x" },
		"no version":           func(p *Package) { p.Version = "" },
		"no architecture":      func(p *Package) { p.Architecture = "" },
		"an absolute file":     func(p *Package) { p.Filename = "/etc/passwd" },
		"a file that leaves":   func(p *Package) { p.Filename = "pool/../../x" },
		"a file with spaces":   func(p *Package) { p.Filename = "pool/a b" },
		"size 0":               func(p *Package) { p.Size = 0 },
		"an enormous size":     func(p *Package) { p.Size = maxDebBytes + 1 },
		"a hash that is short": func(p *Package) { p.SHA256 = p.SHA256[1:] },
		"a hash with a path":   func(p *Package) { p.SHA256 = "../" + p.SHA256[3:] },
		"a hash in upper case": func(p *Package) { p.SHA256 = strings.ToUpper(p.SHA256) },
	} {
		p := good
		change(&p)
		f := Fetcher{Cache: t.TempDir()}
		if _, err := f.Fetch(context.Background(), []Package{p}); err == nil || !strings.Contains(err.Error(), "package record") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	other := good
	other.SHA256 = sum([]byte("x"))
	f := Fetcher{Cache: t.TempDir()}
	if _, err := f.Fetch(context.Background(), []Package{good, other}); err == nil || !strings.Contains(err.Error(), "two different records of ok") {
		t.Errorf("two records: %v", err)
	}
}

// The cache is pruned by it.
func TestFetchMarksCachedPackagesAsUsed(t *testing.T) {
	m := newMirror(t)
	p := m.debs(1, 100)[0]
	f := m.options(t).Fetcher
	var info os.FileInfo
	for range 2 {
		paths, err := f.Fetch(context.Background(), []Package{p})
		if err != nil {
			t.Fatal(err)
		}
		if info, err = os.Stat(paths[p.Name]); err != nil {
			t.Fatal(err)
		}
		if time.Since(info.ModTime()) > time.Hour {
			t.Errorf("it was used last at %v", info.ModTime())
		}
		if err := os.Chtimes(paths[p.Name], time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}
