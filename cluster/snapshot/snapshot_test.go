package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/nodeconfig"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const waitTime = 3 * time.Minute

// store is a datastore of a server.
type store struct {
	kind string
	dir  string // the server's folder
	sock string
	run  func(ctx context.Context, ready func()) error
}

// stores are one of each kind.
func stores(t *testing.T) []*store {
	t.Helper()
	var all []*store
	for _, kind := range []string{nodeconfig.DatastoreSQLite, nodeconfig.DatastoreEtcd} {
		short, err := os.MkdirTemp("", "s") // paths of sockets are short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(short) })
		s := &store{kind: kind, dir: filepath.Join(t.TempDir(), "server"), sock: filepath.Join(short, "s")}
		if kind == nodeconfig.DatastoreSQLite {
			s.run = datastore.SQLite{Path: datastore.SQLiteFile(s.dir), Socket: s.sock, Volatile: short}.Run
		} else {
			s.run = etcd(t, s).Run
		}
		all = append(all, s)
	}
	return all
}

func etcd(t *testing.T, s *store) *datastore.Etcd {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.LoadOrMakeAuthority(dir, "etcd-ca", time.Now())
	if err == nil {
		err = ca.Issue(dir, "peer", pki.Subject{Name: "a", Hosts: []string{"127.0.0.1"}, Peer: true}, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	here := listener.Addr().String()
	return &datastore.Etcd{
		Dir: datastore.EtcdDir(s.dir), Socket: s.sock, Name: "a", API: "192.0.2.1:6443", Peer: here, Listen: here,
		CA: filepath.Join(dir, "etcd-ca.crt"), Certificate: filepath.Join(dir, "peer.crt"), Key: filepath.Join(dir, "peer.key"),
	}
}

// while has a datastore run, as a server does, while something is done.
func (s *store) while(t *testing.T, do func(c *clientv3.Client)) {
	t.Helper()
	release, err := datastore.Lock(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.run(ctx, func() { close(ready) }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("%s ended: %v", s.kind, err)
	case <-time.After(waitTime):
		t.Fatalf("%s does not become ready", s.kind)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + s.sock}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	do(c)
}

// put makes a key or replaces its value, as the API server does, and returns
// the revision.
func put(t *testing.T, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	found, err := c.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	var revision int64
	if len(found.Kvs) > 0 {
		revision = found.Kvs[0].ModRevision
	}
	answer, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
	if err != nil || !answer.Succeeded {
		t.Fatalf("write %s: %v", key, err)
	}
	return answer.Header.Revision
}

func get(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	answer, err := c.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Kvs) == 0 {
		return ""
	}
	return string(answer.Kvs[0].Value)
}

func (s *store) save(t *testing.T, dir string, at time.Time) Snapshot {
	t.Helper()
	made, err := Source{ServerDir: s.dir, Socket: s.sock}.Save(t.Context(), dir, Manual, at)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestASnapshotBringsBackWhatThereWas(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.kind, func(t *testing.T) {
			dir := t.TempDir()
			var made Snapshot
			var last int64
			s.while(t, func(c *clientv3.Client) {
				put(t, c, "/registry/key", "zero")
				put(t, c, "/registry/key", "one")
				put(t, c, "/registry/other", "one")
				made = s.save(t, dir, noon)
				put(t, c, "/registry/key", "two")
				last = put(t, c, "/registry/later", "two")

				if _, err := Restore(t.Context(), made.Path, s.dir, noon); !errors.Is(err, datastore.ErrInUse) {
					t.Errorf("while the server runs: %v", err)
				}
			})
			if want := fmt.Sprintf("manual-%s-20260301T120000Z-r%d.db", s.kind, made.Revision); filepath.Base(made.Path) != want || made.Revision == 0 {
				t.Errorf("the snapshot is %s, want %s", made.Path, want)
			}
			for _, path := range []string{made.Path, made.Path + digestSuffix} {
				if status, err := os.Stat(path); err != nil || status.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", path, status.Mode(), err)
				}
			}
			check := exec.Command("sha256sum", "--check", "--strict", filepath.Base(made.Path)+digestSuffix)
			check.Dir = dir
			if output, err := check.CombinedOutput(); err != nil {
				t.Errorf("sha256sum: %v\n%s", err, output)
			}

			aside, err := Restore(t.Context(), made.Path, s.dir, noon)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(aside); err != nil || !strings.HasSuffix(aside, ".before-20260301T120000Z") {
				t.Errorf("kept aside as %q: %v", aside, err)
			}
			s.while(t, func(c *clientv3.Client) {
				if key, other, later := get(t, c, "/registry/key"), get(t, c, "/registry/other"), get(t, c, "/registry/later"); key != "one" || other != "one" || later != "" {
					t.Errorf("after the restore: key %q, other %q, later %q", key, other, later)
				}
				// No revision that somebody knows comes again for something else.
				if revision := put(t, c, "/registry/key", "three"); revision <= last {
					t.Errorf("revision %d comes after %d", revision, last)
				}
				if got := get(t, c, "/registry/key"); got != "three" {
					t.Errorf("read %q", got)
				}
			})
			// What was kept aside is whole.
			target := strings.TrimSuffix(aside, ".before-20260301T120000Z")
			if err := os.Rename(target, target+".restored-and-written"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(aside, target); err != nil {
				t.Fatal(err)
			}
			s.while(t, func(c *clientv3.Client) {
				if got := get(t, c, "/registry/later"); got != "two" {
					t.Errorf("what was kept aside has %q", got)
				}
			})
		})
	}
}

func TestADamagedSnapshotChangesNothing(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.kind, func(t *testing.T) {
			dir := t.TempDir()
			var made Snapshot
			s.while(t, func(c *clientv3.Client) {
				put(t, c, "/registry/key", "one")
				made = s.save(t, dir, noon)
				put(t, c, "/registry/key", "two")
			})
			contents, err := os.ReadFile(made.Path)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := os.ReadFile(made.Path + digestSuffix)
			if err != nil {
				t.Fatal(err)
			}
			flipped := append([]byte{}, contents...)
			flipped[len(flipped)/2] ^= 1
			cut := contents[:len(contents)/2]
			for name, damage := range map[string]func(){
				"a bit":                func() { os.WriteFile(made.Path, flipped, 0o600) },
				"cut":                  func() { os.WriteFile(made.Path, cut, 0o600) },
				"empty":                func() { os.WriteFile(made.Path, nil, 0o600) },
				"no digest":            func() { os.Remove(made.Path + digestSuffix) },
				"gone":                 func() { os.Remove(made.Path) },
				"cut, and so digested": func() { os.WriteFile(made.Path, cut, 0o600); redigest(t, made.Path) },
				"not a snapshot":       func() { os.WriteFile(made.Path, make([]byte, 1<<16), 0o600); redigest(t, made.Path) },
			} {
				os.WriteFile(made.Path, contents, 0o600)
				os.WriteFile(made.Path+digestSuffix, digest, 0o600)
				damage()
				if aside, err := Restore(t.Context(), made.Path, s.dir, noon); err == nil || aside != "" {
					t.Errorf("%s: restored: %v", name, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(s.dir, "*.*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			s.while(t, func(c *clientv3.Client) {
				if got := get(t, c, "/registry/key"); got != "two" {
					t.Errorf("the datastore has %q", got)
				}
			})
		})
	}
}

func redigest(t *testing.T, path string) {
	t.Helper()
	digest, err := flushAndDigest(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+digestSuffix, []byte(digest+"  x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestASnapshotOfTheOtherKindIsRefused(t *testing.T) {
	both := stores(t)
	dir := t.TempDir()
	var made [2]Snapshot
	for i, s := range both {
		s.while(t, func(c *clientv3.Client) {
			put(t, c, "/registry/key", s.kind)
			made[i] = s.save(t, dir, noon)
		})
	}
	for i, s := range both {
		if _, err := Restore(t.Context(), made[1-i].Path, s.dir, noon); err == nil || !strings.Contains(err.Error(), both[1-i].kind) {
			t.Errorf("%s: %v", s.kind, err)
		}
		if latest, err := Latest(dir, s.dir); err != nil || latest.Path != made[i].Path {
			t.Errorf("the latest of %s is %s: %v", s.kind, latest.Path, err)
		}
	}
	// A machine whose disk is new takes any.
	fresh := filepath.Join(t.TempDir(), "server")
	if aside, err := Restore(t.Context(), made[0].Path, fresh, noon); err != nil || aside != "" {
		t.Errorf("on a new machine: aside %q, %v", aside, err)
	}
}

// names writes files with the names, and returns their folder.
func names(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheOldestAutomaticSnapshotsGo(t *testing.T) {
	dir := names(t,
		"auto-sqlite-20260301T120000Z-r30.db", "auto-sqlite-20260301T120000Z-r30.db.sha256",
		"auto-sqlite-20260301T000000Z-r9.db", "auto-sqlite-20260301T000000Z-r9.db.sha256",
		"auto-sqlite-20260301T000000Z-r20.db",
		"manual-sqlite-20250101T000000Z-r1.db",
		"auto-sqlite-20260230T000000Z-r1.db", "notes.txt", // no snapshots
	)
	if err := prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	want := "auto-sqlite-20260230T000000Z-r1.db auto-sqlite-20260301T000000Z-r20.db auto-sqlite-20260301T120000Z-r30.db " +
		"auto-sqlite-20260301T120000Z-r30.db.sha256 manual-sqlite-20250101T000000Z-r1.db notes.txt"
	if got := strings.Join(left, " "); got != want {
		t.Errorf("left are\n%s, want\n%s", got, want)
	}
	all, err := List(dir)
	if err != nil || len(all) != 3 || all[0].Revision != 30 || all[1].Revision != 20 || all[2].How != Manual {
		t.Errorf("listed: %+v, %v", all, err)
	}
	if none, err := List(filepath.Join(dir, "missing")); err != nil || len(none) > 0 {
		t.Errorf("of a folder that is not there: %v, %v", none, err)
	}
}

func TestWhenTheNextSnapshotIsDueFollowsFromTheLatest(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		want  time.Duration
	}{
		"a new server":            {nil, firstAfter},
		"only a manual one":       {[]string{"manual-etcd-20260301T115900Z-r1.db"}, firstAfter},
		"one of an hour ago":      {[]string{"auto-etcd-20260301T110000Z-r1.db"}, 11 * time.Hour},
		"one of last week":        {[]string{"auto-etcd-20260222T110000Z-r1.db"}, firstAfter},
		"the clock was set back":  {[]string{"auto-etcd-20360222T110000Z-r1.db"}, 12 * time.Hour},
		"a moment before its due": {[]string{"auto-etcd-20260301T000001Z-r1.db"}, firstAfter},
	} {
		s := Schedule{Dir: names(t, test.files...), Every: 12 * time.Hour, Now: func() time.Time { return noon }}
		if got := s.due(); got != test.want {
			t.Errorf("%s: in %v, want %v", name, got, test.want)
		}
	}
}

func TestAnAutomaticSnapshotThatFailsIsTakenAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Duration
		began := time.Now()
		Schedule{Dir: t.TempDir(), Every: 12 * time.Hour, Keep: 5, Now: time.Now, Save: func(context.Context, string) (Snapshot, error) {
			at = append(at, time.Since(began))
			if len(at) == 4 {
				cancel()
			}
			if len(at) == 1 {
				return Snapshot{}, errors.New("no space left on device")
			}
			return Snapshot{}, nil
		}}.Run(ctx)
		want := []time.Duration{firstAfter, firstAfter + retryAfter, firstAfter + retryAfter + 12*time.Hour, firstAfter + retryAfter + 24*time.Hour}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("taken after %v, want %v", at, want)
		}
	})
}

// What a power cut has left does not disturb the next one.
func TestARestOfAnEarlierSnapshotIsReplaced(t *testing.T) {
	for _, s := range stores(t) {
		dir := names(t, partPrefix+s.kind, partPrefix+s.kind+".part", partPrefix+s.kind+"-journal")
		s.while(t, func(c *clientv3.Client) {
			put(t, c, "/registry/key", "one")
			s.save(t, dir, noon)
		})
		if left, _ := filepath.Glob(filepath.Join(dir, partPrefix+"*")); len(left) > 0 {
			t.Errorf("%s left %v", s.kind, left)
		}
	}
}
