package datastore

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// fill fills the database; it is new if it has no roles.
func fill(t *testing.T, s SQLite, records map[string]string) error {
	t.Helper()
	return Fill(t.Context(), s.Flags()["etcd-servers"], "/registry/roles/", func() (map[string][]byte, error) {
		values := make(map[string][]byte)
		for key, value := range records {
			values[key] = []byte(value)
		}
		return values, nil
	})
}

// expectValues fails unless the database has those records, and none that are
// empty here.
func expectValues(t *testing.T, s SQLite, want map[string]string) {
	t.Helper()
	client := databaseOf(t, s, "roles")
	for _, key := range slices.Sorted(maps.Keys(want)) {
		answer, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(answer.Kvs) > 0 {
			got = string(answer.Kvs[0].Value)
		}
		if got != want[key] {
			t.Errorf("%s is %q, want %q", key, got, want[key])
		}
	}
}

func TestOnlyANewDatabaseIsFilled(t *testing.T) {
	s, stop := serve(t, t.TempDir())
	defer stop()
	create(t, databaseOf(t, s, "roles"), "/registry/accounts/a")
	if err := fill(t, s, map[string]string{"/registry/accounts/a": "new", "/registry/accounts/b": "new", "/registry/roles/a": "new"}); err != nil {
		t.Fatal(err)
	}
	expectValues(t, s, map[string]string{"/registry/accounts/a": "value", "/registry/accounts/b": "new", "/registry/roles/a": "new"})
	if err := fill(t, s, map[string]string{"/registry/roles/a": "newer", "/registry/roles/b": "newer"}); err != nil {
		t.Fatal(err)
	}
	expectValues(t, s, map[string]string{"/registry/roles/a": "new", "/registry/roles/b": ""})
}

// What tells that a database is not new is written last.
func TestFillingGoesOnWhereItWasInterrupted(t *testing.T) {
	s, stop := serve(t, t.TempDir())
	defer stop()
	refused := strings.Repeat("x", largestRequest+1)
	keys := []string{"/registry/accounts/a", "/registry/roles/a", "/registry/zones/a"}
	err := fill(t, s, map[string]string{keys[0]: "new", keys[1]: "new", keys[2]: refused})
	if err == nil || !strings.Contains(err.Error(), keys[2]) {
		t.Fatalf("error %v", err)
	}
	expectValues(t, s, map[string]string{keys[0]: "new", keys[1]: "", keys[2]: ""})
	if err := fill(t, s, map[string]string{keys[0]: "newer", keys[1]: "newer", keys[2]: "newer"}); err != nil {
		t.Fatal(err)
	}
	expectValues(t, s, map[string]string{keys[0]: "new", keys[1]: "newer", keys[2]: "newer"})
}
