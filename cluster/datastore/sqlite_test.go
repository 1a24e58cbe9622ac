package datastore

import (
	"context"
	"os"
	"path/filepath"
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
