package datastore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"
)

// counting counts what is prepared.
type counting struct {
	driver.Connector
	mutex    *sync.Mutex
	prepared map[string]int
}

type countingConnection struct {
	connection
	of counting
}

func (c counting) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return countingConnection{made.(connection), c}, nil
}

func (c countingConnection) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	c.of.mutex.Lock()
	defer c.of.mutex.Unlock()
	c.of.prepared[text]++
	return c.connection.PrepareContext(ctx, text)
}

// openCounting opens an empty database for one connection.
func openCounting(t *testing.T) (*sql.DB, map[string]int) {
	t.Helper()
	connector, err := sqlite.NewConnector("file:" + filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	c := counting{connector, new(sync.Mutex), map[string]int{}}
	db := sql.OpenDB(prepareOnce{c})
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	return db, c.prepared
}

const (
	insertName = "INSERT INTO t(name) VALUES (?)"
	selectName = "SELECT name FROM t WHERE id >= ? ORDER BY id"
)

func names(t *testing.T, rows *sql.Rows, err error) (found []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		found = append(found, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestStatementsArePreparedOnce(t *testing.T) {
	db, prepared := openCounting(t)
	for i := range 5 {
		if _, err := db.Exec(insertName, fmt.Sprintf("n%d", i)); err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query(selectName, i+1)
		if found := names(t, rows, err); len(found) != 1 || found[0] != fmt.Sprintf("n%d", i) {
			t.Errorf("found %q", found)
		}
	}
	if prepared[insertName] != 1 || prepared[selectName] != 1 {
		t.Errorf("prepared %v", prepared)
	}
}

func TestAStatementWhoseRowsAreReadIsNotStartedAgain(t *testing.T) {
	db, _ := openCounting(t)
	for i := range 3 {
		if _, err := db.Exec(insertName, fmt.Sprintf("n%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.Begin() // one connection for both
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	outer, err := tx.Query(selectName, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	if !outer.Next() {
		t.Fatal("no row")
	}
	inner, err := tx.Query(selectName, 3)
	if found := names(t, inner, err); len(found) != 1 || found[0] != "n2" {
		t.Errorf("found %q within", found)
	}
	rest := 0
	for outer.Next() {
		rest++
	}
	if err := outer.Err(); err != nil || rest != 2 {
		t.Errorf("%d rows after that, %v", rest, err)
	}
}

func TestAStatementThatFailedIsPreparedAgain(t *testing.T) {
	db, prepared := openCounting(t)
	for i, want := range []bool{true, false, true} {
		_, err := db.Exec(insertName, []string{"a", "a", "b"}[i])
		var failure *sqlite.Error
		if ok := err == nil; ok != want || !ok && !errors.As(err, &failure) {
			t.Errorf("insertion %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.QueryContext(ctx, selectName, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	rows, err := db.Query(selectName, 1)
	if found := names(t, rows, err); len(found) != 2 {
		t.Errorf("found %q", found)
	}
	if prepared[insertName] != 2 {
		t.Errorf("prepared %v", prepared)
	}
}

func TestStatementsKeptAreBounded(t *testing.T) {
	db, prepared := openCounting(t)
	for range 2 {
		for i := range 2 * maxStatements {
			rows, err := db.Query(fmt.Sprintf("SELECT name FROM t WHERE id = %d", i))
			if found := names(t, rows, err); len(found) != 0 {
				t.Errorf("found %q", found)
			}
		}
	}
	if len(prepared) > maxStatements {
		t.Errorf("%d statements are kept", len(prepared))
	}
}

// kine prepares a statement in this way and does not close the connection.
func TestAConnectionThatPreparedNothingIsGivenBack(t *testing.T) {
	db, _ := openCounting(t)
	ended, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		text string
	}{
		"it ended": {ended, "SELECT id FROM t"}, "no such table": {t.Context(), "SELECT id FROM u"},
	} {
		kept, err := db.Conn(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if test.ctx == ended {
			cancel()
		}
		if _, err := kept.PrepareContext(test.ctx, test.text); err == nil || errors.Is(err, context.Canceled) != (test.ctx == ended) || strings.Contains(err.Error(), "bad connection") {
			t.Errorf("%s: got %v", name, err)
		}
		if now := db.Stats().InUse; now != 0 {
			t.Fatalf("%s: %d connections are in use", name, now)
		}
	}
}

func TestTheEndWaitsForConnectionsInUse(t *testing.T) {
	db, _ := openCounting(t)
	used, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for db.PingContext(t.Context()) == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		used.Close()
	}()
	if err := closeAll(db); err != nil {
		t.Fatal(err)
	}
	if still := db.Stats().OpenConnections; still != 0 {
		t.Errorf("%d connections are open after the end", still)
	}
}
