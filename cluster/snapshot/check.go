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
	return fmt.Errorf("%w: nothing was changed. `skerry snapshot restore --data-dir %s --latest` brings back the state of %s and keeps what is there aside; "+
		"to begin an empty cluster move %s away", err, dataDir, latest.Time.Format(time.RFC3339), serverDir)
}

func isEmpty(path string) bool {
	status, err := os.Stat(path)
	if err != nil || status.Size() > 0 {
		return false
	}
	log, err := os.Stat(path + "-wal") // what was written last may be there only
	return err != nil || log.Size() == 0
}
