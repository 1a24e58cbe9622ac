package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// ErrDamaged is wrapped when a database cannot be read as one.
var ErrDamaged = errors.New("the database is damaged")

// revisionGap is how far a restored database begins beyond the revision of its
// snapshot. Nodes have seen revisions after that; one that they know must never
// come again for something else, or they would wait for changes that have
// passed.
const revisionGap = 1_000_000_000

// access is SQLite's mode of a database that must exist
// (https://www.sqlite.org/uri.html, 3.4).
type access string

const (
	readOnly  access = "ro" // changes nothing in the file nor in its log
	readWrite access = "rw"
)

// open opens a database for one statement at a time.
func open(path string, mode access) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Path: path, RawQuery: "mode=" + string(mode)}
	db, err := sql.Open(driverName, name.String())
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA busy_timeout = 30000"); err != nil {
		db.Close()
		return nil, failure(path, err)
	}
	return db, nil
}

// failure is an error of a database. SQLite has two messages for a file that is
// damaged.
func failure(path string, err error) error {
	if text := err.Error(); strings.Contains(text, "malformed") || strings.Contains(text, "not a database") {
		return fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return fmt.Errorf("database %s: %w", path, err)
}

func bytesOf(path string) (int64, error) {
	status, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return status.Size(), nil
}

// CheckSQLite reads a whole database and returns ErrDamaged if it is not one
// any more. A missing file is no error. It changes nothing, but finishes a
// transaction that a power cut broke off before the database had a log
// (https://www.sqlite.org/lockingv3.html, 4.1): it cannot be read else.
func CheckSQLite(ctx context.Context, path string) error {
	size, err := bytesOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// SQLite removes the log of an empty database.
	if log, err := bytesOf(path + "-wal"); size == 0 && err == nil && log > 0 {
		return fmt.Errorf("%s: %w: it is empty, and its log has %d bytes", path, ErrDamaged, log)
	}
	mode := readOnly
	if journal, err := bytesOf(path + "-journal"); err == nil && journal > 0 {
		mode = readWrite
	}
	db, err := open(path, mode)
	if err != nil {
		return err
	}
	defer db.Close()
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return failure(path, err)
	}
	if found != "ok" {
		return fmt.Errorf("%s: %w: %s", path, ErrDamaged, found)
	}
	return nil
}

// CopySQLite writes a database as it is now to another file, which must not
// exist, and returns its revision. The server may run meanwhile.
func CopySQLite(ctx context.Context, from, to string) (revision int64, err error) {
	db, err := open(from, readOnly)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return 0, failure(from, err)
	}
	written, err := open(to, readOnly)
	if err != nil {
		return 0, err
	}
	defer written.Close()
	if err := written.QueryRowContext(ctx, "SELECT MAX(id) FROM kine").Scan(&revision); err != nil {
		return 0, failure(to, err)
	}
	return revision, nil
}

// RestoreSQLite makes the copy of a database one that a server can begin with.
func RestoreSQLite(ctx context.Context, path string) error {
	if err := CheckSQLite(ctx, path); err != nil {
		return err
	}
	db, err := open(path, readWrite)
	if err != nil {
		return err
	}
	defer db.Close()
	// As kine does it: what is superseded or deleted goes, all before the gap
	// counts as compacted, and a deleted key that nobody has used takes the
	// revision at its end.
	for _, statement := range []string{
		`DELETE FROM kine WHERE id IN (SELECT prev_revision FROM kine WHERE name != 'compact_rev_key' AND prev_revision != 0)
			OR deleted != 0`,
		fmt.Sprintf(`INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value)
			SELECT MAX(id) + %d, 'gap-' || (MAX(id) + %[1]d), 0, 1, 0, 0, 0, NULL, NULL FROM kine`, revisionGap),
		`UPDATE kine SET prev_revision = (SELECT MAX(id) - 1 FROM kine) WHERE name = 'compact_rev_key'`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return failure(path, err)
		}
	}
	return nil
}
