//go:build !cgo

package datastore

import (
	"path/filepath"
	"testing"
)

func TestDatabasesAreOpenedAgainAsBefore(t *testing.T) {
	for level, parameters := range map[string]string{"0": volatile, "2": durable} {
		db, err := connect(filepath.Join(t.TempDir(), "state.db") + parameters)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": level, "busy_timeout": "30000"} {
			var found string
			if err := db.QueryRow("PRAGMA " + pragma).Scan(&found); err != nil || found != want {
				t.Errorf("%s is %s, want %s: %v", pragma, found, want, err)
			}
		}
	}
}
