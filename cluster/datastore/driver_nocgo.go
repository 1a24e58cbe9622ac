//go:build !cgo

package datastore

import (
	"database/sql"
	"fmt"
	"net/url"

	"modernc.org/sqlite"
)

// driverName is that of the driver that kine brings along.
const driverName = "sqlite"

// reopen opens a database for kine once more: its driver has no cache of
// prepared statements.
func reopen(path, synchronous string) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "journal_mode(WAL)", fmt.Sprintf("synchronous(%s)", synchronous)},
		"_txlock": {"immediate"},
	}.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(prepareOnce{connector}), nil
}
