//go:build rootful

package datastore

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// small is a file system of 16 MiB.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatalf("mount a small file system: %v: the test needs root", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestWhatAFullDiskDoesNotTakeIsNotAcknowledged(t *testing.T) {
	dir := small(t)
	s := SQLite{Path: filepath.Join(dir, "db", "state.db"), Socket: socket(t), Volatile: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	c := client(t, "unix://"+s.Socket)
	// As the API server does it: the revision is that which it has seen.
	write := func(key, value string, revision int64) (int64, error) {
		answer, err := c.Txn(t.Context()).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, value)).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return 0, err
		}
		if !answer.Succeeded {
			t.Errorf("%s at %d: somebody else is said to have been faster", key, revision)
		}
		return answer.Header.Revision, nil
	}
	large := strings.Repeat("x", 900<<10)
	before, err := write("/before", "one", 0)
	if err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = io.WriteString(filler, strings.Repeat("\x00", 512))
	}
	filler.Close()

	if _, err := write("/created", large, 0); err == nil {
		t.Error("a key that was not written was acknowledged")
	}
	if _, err := write("/before", large, before); err == nil {
		t.Error("a value that was not written was acknowledged")
	}
	if got := get(t, c, "/before"); got != "one" {
		t.Errorf("read %q", got)
	}
	if got := get(t, c, "/created"); got != "" {
		t.Error("there is a key that was not acknowledged")
	}

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := write("/before", "two", before); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if _, err := write("/created", large, 0); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if got := get(t, c, "/created"); got != large {
		t.Errorf("read %d bytes", len(got))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
