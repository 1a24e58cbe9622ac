package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
	if !Lost(err) {
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

// Lost tells whether Check refused for the state is damaged or gone.
func Lost(refused error) bool {
	return errors.Is(refused, datastore.ErrDamaged) || errors.Is(refused, ErrGone)
}

const (
	damagedSuffix = ".damaged-"
	// mostDamaged are kept aside: on a disk that fails again and again they would
	// fill it.
	mostDamaged = 2
)

// Mend restores the latest snapshot that is whole in the place of a SQLite
// database that Check refused with this error, and returns what it restored and
// where what was there is kept aside. Where nothing can be restored the error is,
// or has in it, the one that was given. The caller has the server's lock.
func Mend(ctx context.Context, serverDir string, refused error, now time.Time) (from Snapshot, aside string, err error) {
	if !Lost(refused) {
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
		aside, err := restore(ctx, s.Path, serverDir, damagedSuffix+now.UTC().Format(timeFormat))
		if err == nil {
			forgetDamaged(aside)
			return s, aside, nil
		}
		failed = errors.Join(failed, err)
		// An earlier one may be whole. A disk that is full is no reason to take it.
		if !errors.Is(err, ErrNotWhole) && !errors.Is(err, datastore.ErrDamaged) {
			break
		}
	}
	return Snapshot{}, "", failed
}

// forgetDamaged removes what Mend put aside earlier than the latest times.
func forgetDamaged(latest string) {
	target, _, found := strings.Cut(latest, damagedSuffix)
	if !found {
		return // there was nothing to put aside
	}
	parent, prefix := filepath.Dir(target), filepath.Base(target)+damagedSuffix
	entries, err := os.ReadDir(parent) // sorted, and so by time
	if err != nil {
		slog.Warn("damaged datastores that are kept aside cannot be listed", "error", err)
	}
	var all []string
	for _, entry := range entries {
		if at, ok := strings.CutPrefix(entry.Name(), prefix); ok {
			if _, err := time.Parse(timeFormat, at); err == nil {
				all = append(all, filepath.Join(parent, entry.Name()))
			}
		}
	}
	for _, dir := range all[:max(0, len(all)-mostDamaged)] {
		if err := os.RemoveAll(dir); err != nil {
			slog.Warn("a damaged datastore that was kept aside cannot be removed", "error", err)
		}
	}
}

// isEmpty tells whether a database that was checked has nothing in it.
func isEmpty(path string) bool {
	status, err := os.Stat(path)
	return err == nil && status.Size() == 0
}
