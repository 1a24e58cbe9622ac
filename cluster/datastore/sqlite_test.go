package datastore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// serve serves databases in a folder until stop is called.
func serve(t *testing.T, dir string) (s SQLite, stop func()) {
	t.Helper()
	s = SQLite{Path: filepath.Join(dir, "db", "state.db"), Socket: filepath.Join(dir, "run", "datastore.sock"), Volatile: filepath.Join(dir, "run")}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the databases are not served: %v", err)
	}
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("at its end: %v", err)
		}
	}
}

// databaseOf speaks to the database that a resource is in, as the API server does.
func databaseOf(t *testing.T, s SQLite, resource string) *clientv3.Client {
	t.Helper()
	endpoint := s.Flags()["etcd-servers"]
	for override := range strings.SplitSeq(s.Flags()["etcd-servers-overrides"], ",") {
		if name, url, _ := strings.Cut(override, "#"); name == resource {
			endpoint = url
		}
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// create adds a key in the way of the API server.
func create(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	answer, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, "value")).Commit()
	if err != nil || !answer.Succeeded {
		t.Fatalf("create %s: %v, succeeded %v", key, err, answer)
	}
}

func count(t *testing.T, c *clientv3.Client, key string) int64 {
	t.Helper()
	answer, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Count
}

func TestLeasesAndEventsAreNotWrittenToTheDisk(t *testing.T) {
	dir := t.TempDir()
	s, stop := serve(t, dir)
	resources := map[string]bool{"/pods": true, "coordination.k8s.io/leases": false, "/events": false, "events.k8s.io/events": false}
	for resource := range resources {
		create(t, databaseOf(t, s, resource), "/registry/"+resource)
	}
	stop()
	if err := os.RemoveAll(s.Volatile); err != nil { // as a boot does
		t.Fatal(err)
	}
	s, stop = serve(t, dir)
	defer stop()
	for resource, kept := range resources {
		if got := count(t, databaseOf(t, s, resource), "/registry/"+resource); (got == 1) != kept {
			t.Errorf("%s: %d objects after a boot, kept is to be %v", resource, got, kept)
		}
	}
}

func TestOthersCannotReadTheDatabases(t *testing.T) {
	s, stop := serve(t, t.TempDir())
	defer stop()
	for _, dir := range []string{filepath.Dir(s.Path), s.Volatile} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s is open to others: %v", dir, info.Mode())
		}
	}
}

// Some of kine's work goes on when it was told to end, and files that are put in
// the place of those would be written to.
func TestAServerThatEndedHasNoFileOpen(t *testing.T) {
	dir := t.TempDir()
	for round := range 30 {
		s, stop := serve(t, dir)
		create(t, databaseOf(t, s, "/pods"), "/registry/"+strconv.Itoa(round))
		stop()
		descriptors, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range descriptors {
			if file, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil && strings.HasPrefix(file, s.Path) {
				t.Fatalf("round %d: %s is open", round, file)
			}
		}
	}
}

func TestACheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s, stop := serve(t, dir)
	defer stop()
	create(t, databaseOf(t, s, "/pods"), "/registry/pod")
	// As a power cut leaves them: what was written last is in the log only.
	cut := filepath.Join(t.TempDir(), "state.db")
	for _, end := range []string{"", "-wal"} {
		contents, err := os.ReadFile(s.Path + end)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(cut+end, contents, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(cut + "-wal")
	if err != nil || len(log) == 0 {
		t.Fatalf("the log is empty: %v", err)
	}
	for _, test := range []struct {
		name     string
		contents []byte
		want     error
	}{
		{name: "cut off"}, {"damaged", []byte("damaged"), ErrDamaged}, {"emptied", []byte{}, ErrDamaged},
	} {
		if test.contents != nil {
			if err := os.WriteFile(cut, test.contents, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.ReadFile(cut)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckSQLite(t.Context(), cut); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		after, err := os.ReadFile(cut)
		if err != nil || !bytes.Equal(after, before) {
			t.Errorf("%s: the file was changed (%d bytes, before %d): %v", test.name, len(after), len(before), err)
		}
		if now, err := os.ReadFile(cut + "-wal"); err != nil || !bytes.Equal(now, log) {
			t.Errorf("%s: the log was changed: %v", test.name, err)
		}
	}
}

// A database is in this state in its first moments only, and after a restore,
// before the server that opens it gives it a log.
func TestATransactionWithoutALogIsFinished(t *testing.T) {
	path, cut := filepath.Join(t.TempDir(), "state.db"), filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := open(path, readWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"PRAGMA cache_size = 1", "CREATE TABLE t (text)", "INSERT INTO t VALUES ('before')", "BEGIN",
		"INSERT INTO t SELECT hex(randomblob(500)) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 200) SELECT i FROM n)",
		"UPDATE t SET text = 'lost'",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, end := range []string{"", "-journal"} {
		contents, err := os.ReadFile(path + end)
		if err != nil || len(contents) == 0 {
			t.Fatalf("state.db%s: %d bytes, %v", end, len(contents), err)
		}
		if err := os.WriteFile(cut+end, contents, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckSQLite(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	after, err := open(cut, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	var rows, old int
	if err := after.QueryRow("SELECT COUNT(*), SUM(text = 'before') FROM t").Scan(&rows, &old); err != nil || rows != 1 || old != 1 {
		t.Errorf("there are %d rows, %d of before: %v", rows, old, err)
	}
}
