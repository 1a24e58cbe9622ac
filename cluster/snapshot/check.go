package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/nodeconfig"
)

// ErrGone is wrapped when a server that had a state has none.
var ErrGone = errors.New("the cluster's state is gone")

// Check refuses a datastore that is damaged, or that is gone from a server that
// had one: an empty cluster would take its place, and in time its snapshots
// that of the good ones. The error says which command helps. A server that
// joins others gets the state from them. It reads a whole SQLite database.
func Check(ctx context.Context, serverDir string, joins bool) error {
	kept, err := datastore.Kept(serverDir)
	if err != nil {
		return err
	}
	if kept == nodeconfig.DatastoreSQLite {
		path := datastore.SQLiteFile(serverDir)
		if err = datastore.CheckSQLite(ctx, path); err == nil && isEmpty(path) {
			kept = ""
		}
	}
	dir := filepath.Join(serverDir, Folder)
	latest, none := Latest(dir, serverDir)
	if err == nil && kept == "" && none == nil && !joins {
		err = fmt.Errorf("%s: %w", serverDir, ErrGone)
	}
	if !errors.Is(err, datastore.ErrDamaged) && !errors.Is(err, ErrGone) {
		return err
	}
	dataDir := filepath.Dir(serverDir)
	if none != nil {
		return fmt.Errorf("%w: nothing was changed. There is no snapshot in %s: restore another with `skerry snapshot restore --data-dir %s FILE`, "+
			"or move %s away to begin an empty cluster", err, dir, dataDir, serverDir)
	}
	return fmt.Errorf("%w: nothing was changed. A start with restore-damaged (in a node config cluster.restoreDamaged), or "+
		"`skerry snapshot restore --data-dir %s --latest`, brings back the state of %s and keeps what is there aside; "+
		"to begin an empty cluster move %s away", err, dataDir, latest.Time.Format(time.RFC3339), serverDir)
}

// Mend restores the latest snapshot that is whole in the place of a SQLite
// database that Check refused with this error, and returns what it restored and
// where what was there is kept aside. The error is the one that was given where
// nothing can be restored so: of several servers the others have the state. The
// caller has the server's lock.
func Mend(ctx context.Context, serverDir string, refused error, now time.Time) (from Snapshot, aside string, err error) {
	if !errors.Is(refused, datastore.ErrDamaged) && !errors.Is(refused, ErrGone) {
		return Snapshot{}, "", refused
	}
	all, err := List(filepath.Join(serverDir, Folder))
	if err != nil {
		return Snapshot{}, "", errors.Join(refused, err)
	}
	failed := refused
	for _, s := range all {
		if s.Datastore != nodeconfig.DatastoreSQLite {
			continue
		}
		if aside, err = restore(ctx, s.Path, serverDir, now); err == nil {
			return s, aside, nil
		}
		failed = errors.Join(failed, err)
	}
	return Snapshot{}, "", failed
}

func isEmpty(path string) bool {
	status, err := os.Stat(path)
	if err != nil || status.Size() > 0 {
		return false
	}
	log, err := os.Stat(path + "-wal") // what was written last may be there only
	return err != nil || log.Size() == 0
}
