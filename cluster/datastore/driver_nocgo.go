//go:build !cgo

package datastore

import (
	"database/sql"

	"modernc.org/sqlite"
)

// driverName is that of the driver that kine brings along.
const driverName = "sqlite"

// reopen opens a database for kine once more: its driver has no cache of
// prepared statements. It knows the parameters by the names that kine translates.
func reopen(name string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector("file:" + name)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(prepareOnce{connector}), nil
}
