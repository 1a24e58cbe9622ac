package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/skerry-os/skerry/cluster/datastore"
)

func TestADamagedOrLostDatastoreIsNotReplacedByAnEmptyOne(t *testing.T) {
	s := stores(t)[0]
	database := datastore.SQLiteFile(s.dir)
	s.while(t, func(c *clientv3.Client) {
		for i := range 200 {
			put(t, c, "/registry/key-"+strings.Repeat("x", i), strings.Repeat("value", 100))
		}
	})
	good, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	torn := append([]byte{}, good...)
	for i := range torn[:len(torn)/2] {
		if i >= 4096 {
			torn[i] = 0xff
		}
	}
	overwritten := append([]byte("not a database"), good[14:]...)
	check := func(joins bool) error { return Check(t.Context(), s.dir, joins) }

	for _, snapshots := range []bool{false, true} {
		if snapshots {
			if err := os.WriteFile(database, good, 0o600); err != nil {
				t.Fatal(err)
			}
			s.while(t, func(*clientv3.Client) { s.save(t, filepath.Join(s.dir, Folder), noon) })
		}
		help := "There is no snapshot in"
		if snapshots {
			help = "--latest`, brings back the state of 2026-03-01T12:00:00Z"
		}
		for name, test := range map[string]struct {
			contents []byte
			want     error
		}{
			"whole":       {good, nil},
			"torn":        {torn, datastore.ErrDamaged},
			"overwritten": {overwritten, datastore.ErrDamaged},
			"cut":         {good[:len(good)/2], datastore.ErrDamaged},
			"empty":       {nil, ErrGone},
		} {
			if err := os.WriteFile(database, test.contents, 0o600); err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want == ErrGone && !snapshots {
				want = nil // a first start that was cut off
			}
			err := check(false)
			if !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), help) {
				t.Errorf("%s, snapshots %v: %v", name, snapshots, err)
			}
			if now, _ := os.ReadFile(database); string(now) != string(test.contents) {
				t.Errorf("%s: the file was changed", name)
			}
		}
	}
	if err := os.RemoveAll(filepath.Dir(database)); err != nil {
		t.Fatal(err)
	}
	if err := check(false); !errors.Is(err, ErrGone) {
		t.Errorf("the folder is gone: %v", err)
	}
	if err := check(true); err != nil {
		t.Errorf("a server that joins others: %v", err)
	}
	if err := Check(t.Context(), filepath.Join(t.TempDir(), "server"), false); err != nil {
		t.Errorf("a new server: %v", err)
	}
}

func TestADamagedDatabaseIsMendedByTheLatestSnapshotThatIsWhole(t *testing.T) {
	s := stores(t)[0]
	database, folder := datastore.SQLiteFile(s.dir), filepath.Join(s.dir, Folder)
	var earlier, latest Snapshot
	s.while(t, func(c *clientv3.Client) {
		put(t, c, "/registry/key", "one")
		earlier = s.save(t, folder, noon)
		put(t, c, "/registry/key", "two")
		latest = s.save(t, folder, noon.Add(time.Hour))
		put(t, c, "/registry/key", "three")
	})
	damage := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"-wal", "-shm"} { // it has what was written last
			if err := os.RemoveAll(path + end); err != nil {
				t.Fatal(err)
			}
		}
	}
	mended := func(at time.Time, want string) {
		t.Helper()
		damage(database)
		_, aside, err := Mend(t.Context(), s.dir, Check(t.Context(), s.dir, false), at)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if contents, err := os.ReadFile(filepath.Join(aside, filepath.Base(database))); err != nil || string(contents) != "damaged" {
			t.Errorf("%s: aside is %q: %v", want, contents, err)
		}
		s.while(t, func(c *clientv3.Client) {
			if got := get(t, c, "/registry/key"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	mended(noon, "two")
	// Not the snapshot is what failed: that is no reason for an older state.
	damage(database)
	refused := Check(t.Context(), s.dir, false)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Mend(ended, s.dir, refused, noon); !errors.Is(err, datastore.ErrDamaged) || !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), earlier.Path) {
		t.Errorf("told to stop: %v", err)
	}
	damage(latest.Path)
	mended(noon.Add(time.Minute), "one")
	// A disk that fails: the digest cannot be read.
	if err := errors.Join(os.Remove(latest.Path+digestSuffix), os.Mkdir(latest.Path+digestSuffix, 0o700)); err != nil {
		t.Fatal(err)
	}
	mended(noon.Add(2*time.Minute), "one")
	mended(noon.Add(3*time.Minute), "one")
	var aside []string
	for _, minute := range []int{2, 3} {
		aside = append(aside, filepath.Join(s.dir, "db"+damagedSuffix+noon.Add(time.Duration(minute)*time.Minute).Format(timeFormat)))
	}
	if kept, err := filepath.Glob(filepath.Join(s.dir, "db"+damagedSuffix+"*")); err != nil || !slices.Equal(kept, aside) {
		t.Errorf("aside are %v, not %v: %v", kept, aside, err)
	}
	if err := os.RemoveAll(filepath.Dir(database)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Mend(t.Context(), s.dir, Check(t.Context(), s.dir, false), noon); err != nil {
		t.Errorf("a database that is gone: %v", err)
	}

	if _, _, err := Mend(t.Context(), s.dir, os.ErrPermission, noon); !errors.Is(err, os.ErrPermission) {
		t.Errorf("another error than damage: %v", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	damage(database)
	if _, _, err := Mend(t.Context(), s.dir, Check(t.Context(), s.dir, false), noon); !errors.Is(err, datastore.ErrDamaged) {
		t.Errorf("without snapshots: %v", err)
	}
	if contents, _ := os.ReadFile(database); string(contents) != "damaged" {
		t.Error("the database was changed")
	}
}
