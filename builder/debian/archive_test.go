package debian

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOpenReadsTheSuiteWithUpdatesAndSecurity(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("tzdata", "2026a", "") + stanza("openssl", "3.5-1+deb13u1", "Source: openssl (3.5-1)") +
		"Package: foreign\nVersion: 1\nArchitecture: arm64\n\n")
	a := open(t, m.options(t))
	if len(a.Warnings()) != 0 || a.Len() != 2 {
		t.Errorf("%d packages, warnings %q", a.Len(), a.Warnings())
	}
	for name, version := range map[string]string{"tzdata": "2026b", "openssl": "3.5-1+deb13u2"} {
		if p, _ := a.Lookup(name); p.Version != version {
			t.Errorf("%s: got %s, want the higher version %s", name, p.Version, version)
		}
	}
}

// Components of -updates are empty most of the time.
func TestOpenReadsASuiteWithoutPackages(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("tzdata", "2026a", ""))
	m.publish(suiteFiles{root: "/debian", name: "trixie-updates"})
	o := m.options(t)
	for range 2 { // the second time from the cache
		if a := open(t, o); a.Len() != 2 || len(a.Warnings()) != 0 {
			t.Errorf("%d packages, warnings %q", a.Len(), a.Warnings())
		}
	}
}

func TestOpenKeepsTheReleaseWhenAnUpdateIsOlder(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("openssl", "1:1", ""))
	if p, _ := open(t, m.options(t)).Lookup("openssl"); p.Version != "1:1" {
		t.Errorf("got %s, want 1:1, whose epoch is higher", p.Version)
	}
}

func TestOpenUsesByHashAndFallsBackToTheName(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("two", "2", ""), byHash: true,
		fields: map[string]string{"Acquire-By-Hash": "yes"}})
	m.publish(suiteFiles{root: "/debian", name: "trixie-updates", packages: stanza("three", "3", ""),
		fields: map[string]string{"Acquire-By-Hash": "yes"}})
	a := open(t, m.options(t))
	for _, name := range []string{"two", "three"} {
		if _, ok := a.Lookup(name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestOpenAcceptsTheSecurityArchivesComponentNames(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	m.publish(suiteFiles{root: "/debian-security", name: "trixie-security", packages: stanza("two", "2", ""),
		fields: map[string]string{"Components": "updates/main updates/contrib"}})
	if _, ok := open(t, m.options(t)).Lookup("two"); !ok {
		t.Error("two is missing")
	}
}

func TestOpenMakesNoRequestsWhileTheCacheIsYoung(t *testing.T) {
	m := newMirror(t)
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "1", "")})
	o := m.options(t)
	o.MaxAge = time.Hour
	now := start
	o.Now = func() time.Time { return now }
	cold := open(t, o)
	m.asked()
	now = start.Add(time.Hour - time.Second)
	warm := open(t, o)
	if asked := m.asked(); len(asked) != 0 {
		t.Errorf("requests with a warm cache: %v", asked)
	}
	if fmt.Sprint(cold.Warnings()) != fmt.Sprint(warm.Warnings()) || len(warm.Warnings()) != 2 || warm.Len() != 1 {
		t.Errorf("cold: %q\nwarm: %q, %d packages", cold.Warnings(), warm.Warnings(), warm.Len())
	}
	now = start.Add(time.Hour)
	open(t, o)
	for _, path := range m.asked() {
		if !strings.HasSuffix(path, "/InRelease") {
			t.Errorf("%s was fetched again though it is in the cache", path)
		}
	}
	now = start.Add(-time.Hour) // a clock that was set back must not make the cache eternal
	open(t, o)
	if len(m.asked()) == 0 {
		t.Error("a cache from the future was taken for young")
	}
}

func TestOpenUsesTheCacheWhileTheMirrorIsDown(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	m.publish(suiteFiles{root: "/debian-security", name: "trixie-security", packages: stanza("two", "2", ""),
		fields: map[string]string{"Valid-Until": start.Add(48 * time.Hour).Format("Mon, 02 Jan 2006 15:04:05 UTC")}})
	o := m.options(t)
	open(t, o)
	m.Close()
	a := open(t, o)
	if len(a.Warnings()) != 3 || !strings.Contains(a.Warnings()[0], "the state of 2026-03-01 12:00:00 is used") {
		t.Errorf("warnings %q", a.Warnings())
	}
	o.Now = func() time.Time { return start.Add(49 * time.Hour) }
	if _, err := Open(context.Background(), o); err == nil || !strings.Contains(err.Error(), "trixie-security") {
		t.Errorf("with an expired cache and no mirror: %v", err)
	}
}

func TestOpenDoesNotGoBackInTime(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "2", ""))
	o := m.options(t)
	open(t, o)
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "1", ""),
		fields: map[string]string{"Date": start.Add(-time.Minute).Format("Mon, 02 Jan 2006 15:04:05 UTC")}})
	a := open(t, o)
	if p, _ := a.Lookup("one"); p.Version != "2" || len(a.Warnings()) != 1 || !strings.Contains(a.Warnings()[0], "went back") {
		t.Errorf("got %s, warnings %q", p, a.Warnings())
	}
}

func TestOpenRepairsADamagedCache(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	o := m.options(t)
	o.MaxAge = time.Hour
	open(t, o)
	for _, dir := range []string{"index", "release"} {
		names, err := filepath.Glob(filepath.Join(o.Cache, dir, "*"))
		if err != nil || len(names) != 3 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a := open(t, o); a.Len() != 3 {
		t.Errorf("%d packages", a.Len())
	}
}

// date writes a moment as Release files do.
func date(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 UTC") }

func TestOpenRefusesWhatIsNotTheSuite(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields map[string]string
		says   string
	}{
		{"another suite", map[string]string{"Suite": "oldstable", "Codename": "bookworm"}, `it is for "oldstable" (codename "bookworm")`},
		{"expired", map[string]string{"Valid-Until": date(start.Add(time.Minute))}, "it expired on"},
		{"from the future", map[string]string{"Date": date(start.Add(26 * time.Hour))}, "check this machine's clock"},
		{"no date", map[string]string{"Date": ""}, "no Date"},
		{"other architectures", map[string]string{"Architectures": "arm64"}, `no architecture "amd64", only arm64`},
		{"other components", map[string]string{"Components": "contrib"}, `no component "main", only contrib`},
		{"no index", map[string]string{"SHA256": "\n " + sum(nil) + " 0 other"}, "lists no main/binary-amd64/Packages.xz"},
		{"a path that leaves", map[string]string{"SHA256": "\n " + sum(nil) + " 0 ../../x"}, "is not \"SHA256 SIZE PATH\""},
		{"enormous index", map[string]string{"SHA256": "\n " + sum(nil) + " 999999999999 main/binary-amd64/Packages.xz"}, "too much to be true"},
	} {
		m := newMirror(t)
		m.publishAll(stanza("one", "1", ""))
		m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "1", ""), fields: c.fields})
		o := m.options(t)
		_, err := Open(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "read suite trixie from "+m.URL) {
			t.Errorf("%s: got %v", c.name, err)
		}
		noTemporaries(t, o.Cache)
	}
	// The day's grace is for clocks that differ.
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "1", ""), fields: map[string]string{"Date": date(start.Add(24 * time.Hour))}})
	open(t, m.options(t))
}

func TestOpenSaysWhichSuitesAreMissing(t *testing.T) {
	m := newMirror(t)
	if _, err := Open(context.Background(), m.options(t)); !errors.Is(err, errNotFound) {
		t.Errorf("without the main suite: %v", err)
	}
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "1", "")})
	a := open(t, m.options(t))
	if got := strings.Join(a.Warnings(), "\n"); !strings.Contains(got, "trixie-security") || !strings.Contains(got, "trixie-updates") {
		t.Errorf("warnings %q", got)
	}
}

func TestOpenSurvivesAMirrorInTheMiddleOfAnUpdate(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	old := m.files["/debian/dists/trixie/InRelease"]
	m.publish(suiteFiles{root: "/debian", name: "trixie", packages: stanza("one", "2", "")})
	first := true
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/debian/dists/trixie/InRelease" && first {
			first = false
			w.Write(old)
			return true
		}
		return false
	}
	o := m.options(t)
	if p, _ := open(t, o).Lookup("one"); p.Version != "2" {
		t.Errorf("got %s", p)
	}

	m.answer = nil
	m.put("/debian/dists/trixie/InRelease", old)
	o = m.options(t)
	_, err := Open(context.Background(), o)
	if !errors.Is(err, errWrongContent) || !strings.Contains(err.Error(), "in the middle of an update") {
		t.Errorf("a mirror that stays so: %v", err)
	}
	noTemporaries(t, o.Cache)
}

func TestOpenEndsWithItsContext(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	ctx, cancel := context.WithCancel(context.Background())
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "Packages.xz") {
			w.Write(m.files[r.URL.Path][:20])
			w.(http.Flusher).Flush()
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	o := m.options(t)
	if _, err := Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	noTemporaries(t, o.Cache)
}

func TestOpenNeedsAKeyring(t *testing.T) {
	m := newMirror(t)
	o := m.options(t)
	o.Keyring = filepath.Join(t.TempDir(), "none.gpg")
	if _, err := Open(context.Background(), o); err == nil || !strings.Contains(err.Error(), "install debian-archive-keyring") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(o.Keyring, []byte("not a keyring"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), o); err == nil || !strings.Contains(err.Error(), o.Keyring) {
		t.Errorf("got %v", err)
	}
}
