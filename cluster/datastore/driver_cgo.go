//go:build cgo

package datastore

// driver is the name of the one that kine brings along.
const driver = "sqlite3"
