package datastore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/nodeconfig"
)

func TestADatastoreIsNotChangedForAnother(t *testing.T) {
	empty, sqlite, etcd := t.TempDir(), t.TempDir(), t.TempDir()
	for _, path := range []string{SQLiteFile(sqlite), filepath.Join(EtcdDir(etcd), "member", "wal", "0000000000000000-0000000000000000.wal")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		dir, wanted string
		refused     bool
	}{
		{empty, nodeconfig.DatastoreSQLite, false}, {empty, nodeconfig.DatastoreEtcd, false},
		{sqlite, nodeconfig.DatastoreSQLite, false}, {etcd, nodeconfig.DatastoreEtcd, false},
		{sqlite, nodeconfig.DatastoreEtcd, true}, {etcd, nodeconfig.DatastoreSQLite, true},
	} {
		err := CheckKept(test.dir, test.wanted)
		if (err != nil) != test.refused || err != nil && !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestOneServerHasTheState(t *testing.T) {
	dir := t.TempDir()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v", err)
	}
	release()
	release, err = Lock(dir)
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	release()
}
