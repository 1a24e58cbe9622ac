package slot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/ubootenv"
)

// board is a node that runs slot A from a disk with the state an image has.
func board(t *testing.T) UBoot {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	layout := ubootenv.Layout{Offsets: [2]int64{1 << 20, 6 << 20}}
	disk := make([]byte, 8<<20)
	b, err := ubootenv.State{OK: ubootenv.SlotA}.Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range layout.Offsets {
		copy(disk[at:], b)
	}
	write(t, path, disk)
	return UBoot{
		Running:     Slot{A, "1.0.0"},
		CommandLine: "console=ttyS0 skerry.booted=A",
		Layout:      layout,
		Open:        func() (StateDisk, error) { return OpenInPlace(path) },
	}
}

func (u UBoot) state(t *testing.T) ubootenv.State {
	t.Helper()
	r, err := u.read()
	if err != nil {
		t.Fatal(err)
	}
	return r.State
}

func (u UBoot) spoil(t *testing.T, copies ...int) {
	t.Helper()
	d, err := u.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, i := range copies {
		if _, err := d.WriteAt([]byte{0xff, 0xfe, 0xfd, 0xfc}, u.Layout.Offsets[i]+100); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTrialThenCommitOnUBoot(t *testing.T) {
	u := board(t)
	next := Slot{B, "1.1.0"}
	if err := u.Try(next); err != nil {
		t.Fatal(err)
	}
	if got := u.state(t); got != (ubootenv.State{OK: "A", Try: "B"}) {
		t.Errorf("after Try: %+v", got)
	}
	if s, err := u.Default(); err != nil || s != u.Running {
		t.Errorf("default after Try: %v, %v", s, err)
	}
	// U-Boot clears the trial and boots it.
	d, _ := u.Open()
	if err := errors.Join(ubootenv.Write(d, u.Layout, ubootenv.State{OK: "A"}), d.Close()); err != nil {
		t.Fatal(err)
	}
	u.Running, u.CommandLine = next, "skerry.booted=B skerry.trial=1 quiet"
	if s, trial, err := u.Booted(); err != nil || s != next || !trial {
		t.Errorf("booted %v, trial %v, %v", s, trial, err)
	}
	if s, err := u.Default(); err != nil || s != (Slot{Letter: A}) {
		t.Errorf("default in the trial: %v, %v", s, err)
	}
	if err := u.Commit(next); err != nil {
		t.Fatal(err)
	}
	if s, err := u.Default(); err != nil || s != next {
		t.Errorf("default after Commit: %v, %v", s, err)
	}
	if err := u.Problem(); err != nil {
		t.Error(err)
	}
}

func TestCommandLineTellsSlotAndTrial(t *testing.T) {
	for line, want := range map[string]struct{ trial, fails bool }{
		"skerry.booted=A":                   {},
		"skerry.booted=A skerry.trial=1\n":  {trial: true},
		"skerry.trial=1 x skerry.booted=A":  {trial: true},
		"skerry.booted=A skerry.trial=0":    {},
		"skerry.booted=A skerry.trial=12":   {},
		"skerry.booted=A -- skerry.trial=1": {},
		"skerry.booted=B":                   {fails: true},
		"-- skerry.booted=A":                {fails: true},
		"":                                  {fails: true},
	} {
		u := board(t)
		u.CommandLine = line
		s, trial, err := u.Booted()
		if (err != nil) != want.fails || trial != want.trial || err == nil && s != u.Running {
			t.Errorf("%q: %v, trial %v, %v", line, s, trial, err)
		}
	}
}

func TestBrokenStateIsToldAndRepaired(t *testing.T) {
	u := board(t)
	if err := u.Commit(u.Running); err != nil {
		t.Fatal(err)
	}
	u.spoil(t, 1)
	if s, err := u.Default(); err != nil || s != u.Running {
		t.Errorf("one copy is broken: default %v, %v", s, err)
	}
	if err := u.Problem(); err == nil || !strings.Contains(err.Error(), "copy 2 of the U-Boot state") || !strings.Contains(err.Error(), "uses the other copy") {
		t.Error(err)
	}
	if err := u.Commit(u.Running); err != nil {
		t.Fatal(err)
	}
	if err := u.Problem(); err != nil {
		t.Errorf("not repaired: %v", err)
	}

	u.spoil(t, 0, 1)
	u.Running, u.CommandLine = Slot{B, "1.1.0"}, "skerry.booted=B"
	if s, err := u.Default(); err != nil || s.Letter != A {
		t.Errorf("both copies are broken: default %v, %v", s, err)
	}
	if err := u.Problem(); err == nil || !strings.Contains(err.Error(), "U-Boot boots slot A") {
		t.Error(err)
	}
	// The slot that runs is the one to fall back to.
	if err := u.Try(Slot{A, "1.2.0"}); err != nil {
		t.Fatal(err)
	}
	if got := u.state(t); got != (ubootenv.State{OK: "B", Try: "A"}) {
		t.Errorf("after Try: %+v", got)
	}
}

func TestCommitTakesBackATrial(t *testing.T) {
	u := board(t)
	if err := errors.Join(u.Try(Slot{B, "2"}), u.Commit(u.Running)); err != nil {
		t.Fatal(err)
	}
	if got := u.state(t); got != (ubootenv.State{OK: "A"}) {
		t.Errorf("%+v", got)
	}
}

// stuck takes writes and keeps nothing, as an SD card at the end of its life.
type stuck struct{ StateDisk }

func (stuck) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

func TestTryFailsIfTheStateDoesNotReadBack(t *testing.T) {
	u := board(t)
	open := u.Open
	u.Open = func() (StateDisk, error) {
		d, err := open()
		return stuck{d}, err
	}
	for name, change := range map[string]func(Slot) error{"try": u.Try, "commit": u.Commit} {
		err := change(Slot{B, "2"})
		if err == nil || !strings.HasPrefix(err.Error(), name+" slot B (2): write copy 2 of the U-Boot state") {
			t.Errorf("%s: %v", name, err)
		}
	}
	u.Open = func() (StateDisk, error) { return nil, os.ErrPermission }
	if err := u.Try(Slot{B, "2"}); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	if _, err := u.Default(); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
}

func TestUBootRefusesSlotsThatCannotBe(t *testing.T) {
	u := board(t)
	d, _ := u.Open()
	defer d.Close()
	before := make([]byte, 8<<20)
	d.ReadAt(before, 0)
	for _, s := range []Slot{{}, {"C", "1"}, {A, "1.1.0"}} {
		if u.Try(s) == nil || u.Commit(s) == nil {
			t.Errorf("slot %v was accepted", s)
		}
	}
	u.Layout.Offsets[1] = u.Layout.Offsets[0]
	if u.Try(Slot{B, "2"}) == nil {
		t.Error("copies in the same place were accepted")
	}
	after := make([]byte, 8<<20)
	if d.ReadAt(after, 0); !bytes.Equal(before, after) {
		t.Error("the disk was changed")
	}
}

func TestScriptSaysWhichSlotItBootedAndWhereTheStateIs(t *testing.T) {
	for line, want := range map[string]struct {
		letter    Letter
		first     int64
		ok, fails bool
	}{
		"quiet skerry.state=12582912,16777216 skerry.booted=B skerry.trial=1": {letter: B, first: 12 << 20, ok: true},
		"quiet skerry.slot=root=0":                         {},
		"-- skerry.booted=A":                               {},
		"skerry.state=12582912,16777216 skerry.booted=C":   {ok: true, fails: true},
		"skerry.booted=A":                                  {ok: true, fails: true},
		"skerry.booted=A skerry.state=12582912,12587008":   {ok: true, fails: true}, // too close
		"skerry.booted=A skerry.state=12582912":            {ok: true, fails: true},
		"skerry.booted=A skerry.state=+12582912,016777216": {ok: true, fails: true},
	} {
		letter, layout, ok, err := BootedByUBoot(line)
		if ok != want.ok || (err != nil) != want.fails || err == nil && (letter != want.letter || layout.Offsets[0] != want.first) {
			t.Errorf("%q: %q, %v, %v, %v", line, letter, layout, ok, err)
		}
	}
}
