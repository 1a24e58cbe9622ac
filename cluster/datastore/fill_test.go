package datastore

import "testing"

func TestOnlyAnEmptyDatabaseIsFilled(t *testing.T) {
	s, stop := serve(t, t.TempDir())
	defer stop()
	endpoint, client := s.Flags()["etcd-servers"], databaseOf(t, s, "roles")
	value := func(key string) string {
		t.Helper()
		answer, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Kvs) == 0 {
			return ""
		}
		return string(answer.Kvs[0].Value)
	}
	// An object of another kind, as an interrupted filling leaves it.
	create(t, client, "/registry/accounts/a")
	records := func(keys ...string) func() (map[string][]byte, error) {
		return func() (map[string][]byte, error) {
			values := make(map[string][]byte)
			for _, key := range keys {
				values[key] = []byte("new")
			}
			return values, nil
		}
	}
	if err := Fill(t.Context(), endpoint, "/registry/roles/", records("/registry/accounts/a", "/registry/accounts/b", "/registry/roles/a")); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"/registry/accounts/a": "value", "/registry/accounts/b": "new", "/registry/roles/a": "new"} {
		if got := value(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if err := Fill(t.Context(), endpoint, "/registry/roles/", records("/registry/roles/b")); err != nil {
		t.Fatal(err)
	}
	if got := value("/registry/roles/b"); got != "" {
		t.Errorf("a database with roles got %q", got)
	}
}
