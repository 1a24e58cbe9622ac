package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDataThatCouldNotBeMadeLeavesMemoryInItsPlace(t *testing.T) {
	n := testNode(t)
	if err := n.finishData(t.Context()); err != nil {
		t.Errorf("no memory stands in for data: %v", err)
	}
	n.standIn, n.preparation = true, newPreparation()
	broken := errors.New("mke2fs failed")
	go n.preparation.run(func() error { return broken })
	if err := n.finishData(t.Context()); !errors.Is(err, broken) || n.dataMounted {
		t.Errorf("got %v, mounted: %v", err, n.dataMounted)
	}
}

func TestDataThatWasThereIsNotReplacedByMemory(t *testing.T) {
	n := testNode(t)
	n.standIn, n.preparation = true, newPreparation()
	n.preparation.run(func() error { return nil })
	if err := n.finishData(t.Context()); err == nil || n.dataMounted {
		t.Errorf("got %v, mounted: %v", err, n.dataMounted)
	}
}

func TestDataIsNotWaitedForWhenTheNodeGoesDown(t *testing.T) {
	n := testNode(t)
	n.standIn, n.preparation = true, newPreparation()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.finishData(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAMistakeInThePreparationIsAnError(t *testing.T) {
	p := newPreparation()
	p.run(func() error { panic("out of blocks") })
	<-p.ended
	if p.err == nil {
		t.Error("no error")
	}
}

func TestWhatWasInMemoryIsKeptOnData(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, mode := range map[string]os.FileMode{"lib/skerry/node-key.pem": 0o600, "lib/skerry/machine-id": 0o644, "lib/skerry/leases/52-54": 0o644} {
		write(t, filepath.Join(from, name), "of memory: "+name)
		if err := os.Chmod(filepath.Join(from, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(from, "lib/skerry"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(from, "lib/skerry/leases/.52-54.123"), "half")
	if err := keep(from, to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"lib/skerry/node-key.pem": "of memory: lib/skerry/node-key.pem",
		"lib/skerry/machine-id":   "of memory: lib/skerry/machine-id",
		"lib/skerry/leases/52-54": "of memory: lib/skerry/leases/52-54",
	} {
		if got, err := os.ReadFile(filepath.Join(to, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "lib/skerry/node-key.pem")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(to, "lib/skerry")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the key: %v, %v", info, err)
	}
	for _, folder := range []string{"lib/skerry", "lib/skerry/leases"} {
		entries, err := os.ReadDir(filepath.Join(to, folder))
		if want := map[string]int{"lib/skerry": 3, "lib/skerry/leases": 1}[folder]; err != nil || len(entries) != want {
			t.Errorf("%s has %v, %v", folder, entries, err)
		}
	}
	if err := keep(from, filepath.Join(to, "missing")); err == nil {
		t.Error("no error where nothing can be written")
	}
}
