//go:build cgo

package datastore

import "database/sql"

// driverName is that of the driver that kine brings along.
const driverName = "sqlite3"

// connect opens the database that kine uses. The driver keeps prepared
// statements itself (_stmt_cache_size).
func connect(name string) (*sql.DB, error) { return sql.Open(driverName, name) }
