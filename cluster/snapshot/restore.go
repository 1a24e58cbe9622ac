package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/datastore"
	"github.com/skerry-os/skerry/nodeconfig"
)

// Latest returns the latest snapshot of a server's datastore.
func Latest(dir, serverDir string) (Snapshot, error) {
	kept, err := datastore.Kept(serverDir)
	if err != nil {
		return Snapshot{}, err
	}
	all, err := List(dir)
	if err != nil {
		return Snapshot{}, err
	}
	for _, s := range all {
		if kept == "" || s.Datastore == kept {
			return s, nil
		}
	}
	return Snapshot{}, fmt.Errorf("there is no snapshot in %s", dir)
}

// Restore has a server's datastore be what it was at a snapshot. The server must
// not run. What it had is kept aside, and its path returned; it is "" if there
// was nothing. Until the last step nothing of it is touched, and that step is
// whole or not at all.
func Restore(ctx context.Context, path, serverDir string, now time.Time) (aside string, err error) {
	release, err := datastore.Lock(serverDir)
	if errors.Is(err, datastore.ErrInUse) {
		return "", fmt.Errorf("restore %s: %w: stop it first", path, err)
	}
	if err != nil {
		return "", err
	}
	defer release()
	return restore(ctx, path, serverDir, ".before-"+now.UTC().Format(timeFormat))
}

// restore is Restore for one who has the lock. What there was gets a suffix.
func restore(ctx context.Context, path, serverDir, suffix string) (aside string, err error) {
	if err := Verify(path); err != nil {
		return "", err
	}
	kind, err := kindOf(path)
	if err != nil {
		return "", err
	}
	if err := datastore.CheckKept(serverDir, kind); err != nil {
		return "", fmt.Errorf("%s is a snapshot of %s: %w", path, kind, err)
	}
	target := datastore.EtcdDir(serverDir)
	if kind == nodeconfig.DatastoreSQLite {
		target = filepath.Dir(datastore.SQLiteFile(serverDir))
	}
	fresh := target + ".restored"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := unpack(ctx, path, kind, fresh); err != nil {
		return "", fmt.Errorf("restore %s: nothing was changed: %w", path, err)
	}
	return exchange(fresh, target, target+suffix)
}

// kindOf tells which datastore a snapshot is of, by its first bytes.
func kindOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	const magic = "SQLite format 3\x00" // https://www.sqlite.org/fileformat.html, section 1.3
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(file, begin); err != nil {
		return "", fmt.Errorf("%s is no snapshot: %w", path, err)
	}
	if bytes.Equal(begin, []byte(magic)) {
		return nodeconfig.DatastoreSQLite, nil
	}
	return nodeconfig.DatastoreEtcd, nil
}

// unpack makes the data of a datastore out of a snapshot.
func unpack(ctx context.Context, path, kind, dir string) error {
	if kind == nodeconfig.DatastoreEtcd {
		return datastore.RestoreEtcd(path, dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, filepath.Base(datastore.SQLiteFile("")))
	if err := copyFile(path, file); err != nil {
		return err
	}
	if err := datastore.RestoreSQLite(ctx, file); err != nil {
		return err
	}
	if _, err := flushAndDigest(file); err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}

// exchange puts one folder where another is, and that one aside. A power cut
// leaves either the one or the other in the place, and both there.
func exchange(fresh, target, aside string) (string, error) {
	parent := filepath.Dir(target)
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(fresh, target); err != nil {
			return "", err
		}
		return "", atomicfile.SyncDir(parent)
	}
	if err := os.Rename(fresh, aside); err != nil {
		return "", err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, aside, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE); err != nil {
		return "", errors.Join(fmt.Errorf("exchange %s and %s: %w", aside, target, err), os.Rename(aside, fresh))
	}
	return aside, atomicfile.SyncDir(parent)
}
