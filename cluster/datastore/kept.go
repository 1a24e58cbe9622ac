package datastore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skerry-os/skerry/nodeconfig"
)

// Where the state is, below a server's folder.
const (
	sqliteDir  = "db"
	sqliteFile = "state.db"
	etcdDir    = "etcd"
)

// SQLiteFile is the database of a server whose folder is dir.
func SQLiteFile(dir string) string { return filepath.Join(dir, sqliteDir, sqliteFile) }

// EtcdDir is where a server whose folder is dir has its etcd.
func EtcdDir(dir string) string { return filepath.Join(dir, etcdDir) }

// Kept tells which datastore has the state of a server whose folder is dir:
// that of sqlite, that of etcd, or none, "".
func Kept(dir string) (string, error) {
	if Initialized(EtcdDir(dir)) {
		return nodeconfig.DatastoreEtcd, nil
	}
	_, err := os.Stat(SQLiteFile(dir))
	if err == nil {
		return nodeconfig.DatastoreSQLite, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return "", err
}

// CheckKept refuses to begin an empty datastore where another kind has the
// state.
func CheckKept(dir, wanted string) error {
	kept, err := Kept(dir)
	if err != nil {
		return err
	}
	if kept == "" || kept == wanted {
		return nil
	}
	return fmt.Errorf("the state of this cluster is kept by %s in %s, and --datastore is %s now: nothing was changed. Start with --datastore %s; "+
		"to begin an empty cluster or to join another, move %s away", kept, dir, wanted, kept, dir)
}
