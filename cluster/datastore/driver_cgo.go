//go:build cgo

package datastore

import "database/sql"

// driverName is that of the driver that kine brings along.
const driverName = "sqlite3"

// reopen has nothing to do: the driver keeps prepared statements itself
// (_stmt_cache_size).
func reopen(string) (*sql.DB, error) { return nil, nil }
