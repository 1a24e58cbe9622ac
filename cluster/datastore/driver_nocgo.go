//go:build !cgo

package datastore

import (
	"database/sql"

	"modernc.org/sqlite"
)

// driverName is that of the driver that kine brings along.
const driverName = "sqlite"

// connect opens the database that kine uses instead of its own: the driver has no
// cache of prepared statements. It knows the parameters by the names that kine
// translates.
func connect(name string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector("file:" + name)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(prepareOnce{connector}), nil
}
