package slot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/agent/blockdev"
	"github.com/skerry-os/skerry/verity"
)

const treeAt = 8192

// machine is a fake sysfs with disks whose contents are bytes by node.
type machine struct {
	t       *testing.T
	sys     string
	content map[string][]byte
	opened  map[string]int
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, sys: t.TempDir(), content: map[string][]byte{}, opened: map[string]int{}}
	if err := os.MkdirAll(filepath.Join(m.sys, "class/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) add(real, uevent string, partition int, content []byte) {
	m.t.Helper()
	dir, name := filepath.Join(m.sys, "devices", real), filepath.Base(real)
	files := map[string]string{"dev": "8:1\n", "size": fmt.Sprintln(len(content) / 512), "uevent": uevent}
	if partition > 0 {
		files["partition"], files["start"] = fmt.Sprintln(partition), "2048\n"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	m.content["/dev/"+name] = content
	if err := os.Symlink(filepath.Join("../../devices", real), filepath.Join(m.sys, "class/block", name)); err != nil {
		m.t.Fatal(err)
	}
}

type device struct{ *bytes.Reader }

func (device) Close() error { return nil }

func (m *machine) search() Search {
	return Search{Sysfs: blockdev.Sysfs{Root: m.sys}, Deadline: 50 * time.Millisecond, Open: func(node string) (Device, error) {
		m.opened[node]++
		if m.content[node] == nil {
			return nil, errors.New("no medium")
		}
		return device{bytes.NewReader(m.content[node])}, nil
	}}
}

// release makes slot contents whose tree's top block is filled with a byte.
func release(fill byte) ([]byte, verity.Params) {
	slot := make([]byte, 64<<10)
	for i := range 4096 {
		slot[treeAt+i] = fill
	}
	salt := []byte{1, 2, 3}
	hash := sha256.Sum256(append(bytes.Clone(salt), slot[treeAt:][:4096]...))
	params := verity.Params{Root: 0, Tree: treeAt, Blocks: 2, Salt: salt}
	copy(params.Hash[:], hash[:])
	return slot, params
}

func (m *machine) addDisk(name string, a, b []byte) {
	m.add(name, "", 0, make([]byte, 1<<20))
	m.add(name+"/"+name+"1", "PARTN=1\nPARTNAME=boot\nPARTUUID="+name+"-boot\n", 1, make([]byte, 4096))
	m.add(name+"/"+name+"2", "PARTN=2\nPARTNAME=slot-a\n", 2, a)
	m.add(name+"/"+name+"3", "PARTN=3\nPARTNAME=slot-b\n", 3, b)
}

func TestFindTakesTheSlotWithThisReleasesTree(t *testing.T) {
	one, params := release(1)
	two, _ := release(2)
	for _, c := range []struct {
		a, b []byte
		want Letter
	}{{one, two, A}, {two, one, B}, {one, one, A}} {
		m := newMachine(t)
		m.addDisk("vda", c.a, c.b)
		got, err := Find(t.Context(), params, m.search())
		if err != nil || got.Letter != c.want || got.Disk.Name != "vda" || letters(got.Partition) != c.want {
			t.Errorf("want slot %s, got %+v, %v", c.want, got, err)
		}
	}
}

func letters(d blockdev.Device) Letter {
	l, _ := letterOf(d)
	return l
}

func TestFindGoesByNumberWhereThereAreNoNames(t *testing.T) {
	one, params := release(1)
	m := newMachine(t)
	m.add("mmcblk0", "", 0, make([]byte, 1<<20))
	m.add("mmcblk0/mmcblk0p3", "PARTN=3\n", 3, one)
	m.add("mmcblk0/mmcblk0p4", "PARTN=4\n", 4, one)
	got, err := Find(t.Context(), params, m.search())
	if err != nil || got.Letter != B || got.Disk.Name != "mmcblk0" || len(got.Also) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFindPrefersTheDiskTheFirmwareBootedFrom(t *testing.T) {
	one, params := release(1)
	m := newMachine(t)
	m.addDisk("sda", one, one)
	m.addDisk("vda", one, one)
	s := m.search()
	s.BootPartUUID = func() string { return "VDA-BOOT" }
	got, err := Find(t.Context(), params, s)
	if err != nil || got.Disk.Name != "vda" || got.Letter != A || len(got.Also) != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	s.BootPartUUID, s.Settle = func() string { return "not-here" }, time.Millisecond
	if got, err = Find(t.Context(), params, s); err != nil || got.Disk.Name != "sda" {
		t.Errorf("without that disk: got %+v, %v", got, err)
	}
	s.Settle = time.Hour
	if got, err = Find(t.Context(), params, s); err != nil || got.Disk.Name != "sda" {
		t.Errorf("at the deadline: got %+v, %v", got, err)
	}
}

func TestFindWaitsForADisk(t *testing.T) {
	one, params := release(1)
	m := newMachine(t)
	s := m.search()
	events := make(chan struct{})
	s.Events, s.Deadline = events, time.Minute
	go func() {
		m.addDisk("sda", one, one)
		events <- struct{}{}
	}()
	if got, err := Find(t.Context(), params, s); err != nil || got.Disk.Name != "sda" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFailedSearchSaysWhatItSawAndWhy(t *testing.T) {
	two, _ := release(2)
	_, params := release(1)
	m := newMachine(t)
	m.addDisk("vda", two, make([]byte, 4096))
	m.addDisk("sdb", two, two)
	m.content["/dev/sdb2"] = nil
	m.add("sda", "", 0, make([]byte, 1<<20))
	_, err := Find(t.Context(), params, m.search())
	if err == nil {
		t.Fatal("found something")
	}
	for _, want := range []string{
		"/dev/sda, 1 MiB: disk without partitions", "/dev/vda, 1 MiB: disk;", "/dev/vda1 (boot), 0 MiB: not a slot",
		"/dev/vda2 (slot-a), 0 MiB: holds another release", "/dev/vda3 (slot-b), 0 MiB: too small", "/dev/sdb2 (slot-a), 0 MiB: cannot be opened: no medium", "driver",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if _, err := Find(t.Context(), params, newMachine(t).search()); err == nil || !strings.Contains(err.Error(), "no disk at all") {
		t.Errorf("without disks: %v", err)
	}
}

func TestPartitionsAreReadOnceButFailedReadsAgain(t *testing.T) {
	two, _ := release(2)
	_, params := release(1)
	m := newMachine(t)
	m.addDisk("vda", two, two)
	m.content["/dev/vda3"] = nil
	s := m.search()
	events := make(chan struct{}, 10)
	for range 10 {
		events <- struct{}{}
	}
	s.Events, s.Deadline = events, 200*time.Millisecond
	Find(t.Context(), params, s)
	if m.opened["/dev/vda2"] != 1 || m.opened["/dev/vda3"] < 3 {
		t.Errorf("opened %v", m.opened)
	}
}

func TestFindTakesTheSlotThatTheBootChainStarted(t *testing.T) {
	one, params := release(1)
	two, _ := release(2)
	m := newMachine(t)
	m.addDisk("mmcblk0", one, one)
	s := m.search()
	s.Booted = B
	if got, err := Find(t.Context(), params, s); err != nil || got.Letter != B || len(got.Also) != 1 {
		t.Errorf("both hold the release, and B was started: got %+v, %v", got, err)
	}
	m = newMachine(t)
	m.addDisk("mmcblk0", one, two)
	s = m.search()
	s.Booted, s.Settle = B, time.Millisecond
	if got, err := Find(t.Context(), params, s); err != nil || got.Letter != A {
		t.Errorf("B was started and does not hold the release: got %+v, %v", got, err)
	}
}
