package ubootenv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Names of the slots in a State.
const (
	SlotA = "A"
	SlotB = "B"
)

// Variables of the state.
const (
	VariableOK     = "slot_ok"
	VariableTry    = "slot_try"
	VariableSerial = "slot_serial"
)

const (
	// Size of a copy in bytes: the largest sector there is.
	Size = 4096
	// MinDistance of the copies in bytes: an SD card that loses power while it
	// rewrites an erase block loses all of the block, and blocks have up to 4 MiB.
	MinDistance = 4 << 20
)

// Layout is where the copies are on a disk.
type Layout struct {
	Offsets [2]int64 // bytes from the start of the disk
}

// Check refuses offsets where a power cut could break both copies, and sector 0.
func (l Layout) Check() error {
	for _, at := range l.Offsets {
		if at <= 0 || at%Size != 0 {
			return fmt.Errorf("U-Boot state at byte %d: must be at a multiple of %d behind the disk's first", at, Size)
		}
	}
	if d := l.Offsets[1] - l.Offsets[0]; d < MinDistance && d > -MinDistance {
		return fmt.Errorf("U-Boot state at bytes %d and %d: must be %d bytes apart", l.Offsets[0], l.Offsets[1], MinDistance)
	}
	return nil
}

// String returns the offsets as the kernel's command line has them:
// "12582912,16777216".
func (l Layout) String() string { return fmt.Sprintf("%d,%d", l.Offsets[0], l.Offsets[1]) }

// ParseLayout reads what String returns, and nothing else.
func ParseLayout(s string) (Layout, error) {
	var l Layout
	first, second, _ := strings.Cut(s, ",")
	for i, text := range []string{first, second} {
		var err error
		if l.Offsets[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return Layout{}, fmt.Errorf("U-Boot state at %.40q: want two offsets in bytes, as in 12582912,16777216", s)
		}
	}
	if l.String() != s {
		return Layout{}, fmt.Errorf("U-Boot state at %.40q: want two offsets in bytes, as in 12582912,16777216", s)
	}
	return l, l.Check()
}

// State is what U-Boot's script goes by.
type State struct {
	OK  string // the slot that is booted when nobody says otherwise
	Try string // the slot to boot once, or empty
}

// Check refuses slots that do not exist.
func (s State) Check() error {
	if !isSlot(s.OK) || s.Try != "" && !isSlot(s.Try) {
		return fmt.Errorf("U-Boot state with default slot %q and trial of %q: slots are %s and %s", s.OK, s.Try, SlotA, SlotB)
	}
	return nil
}

func isSlot(s string) bool { return s == SlotA || s == SlotB }

// Encode returns a copy with the state. An image is made with serial 0 in
// both.
func (s State) Encode(serial int) ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if serial < 0 || serial >= serials {
		return nil, fmt.Errorf("U-Boot state with serial %d: must be 0 to %d", serial, serials-1)
	}
	env := Env{VariableOK: s.OK, VariableSerial: strconv.Itoa(serial)}
	if s.Try != "" {
		env[VariableTry] = s.Try
	}
	return env.Encode(Size)
}

// decode reads a copy. A trial of a slot that does not exist is none, as in the
// script.
func decode(b []byte) (s State, serial int, err error) {
	env, err := Parse(b)
	if err != nil {
		return State{}, 0, err
	}
	serial, ok := parseSerial(env[VariableSerial])
	if !ok || !isSlot(env[VariableOK]) {
		return State{}, 0, fmt.Errorf("%s=%q and %s=%q: want a slot and a digit", VariableOK, env[VariableOK], VariableSerial, env[VariableSerial])
	}
	s.OK = env[VariableOK]
	if isSlot(env[VariableTry]) {
		s.Try = env[VariableTry]
	}
	return s, serial, nil
}

// Reading is what the two copies say.
type Reading struct {
	State
	// Problems says why a copy is not used; nil for one that is valid. If neither
	// is valid, the state is slot A and no trial.
	Problems [2]error

	serial int
	newest int // the copy the state is from
}

// Problem is all that is wrong with the copies, nil if they are well.
func (r Reading) Problem() error { return errors.Join(r.Problems[:]...) }

// Read returns the state of the newest valid copy, the choice that U-Boot's
// script makes. A copy that cannot be read is not valid.
func Read(disk io.ReaderAt, l Layout) Reading {
	r := Reading{State: State{OK: SlotA}, newest: -1}
	for i, at := range l.Offsets {
		s, serial, err := readCopy(disk, at)
		if err != nil {
			r.Problems[i] = fmt.Errorf("copy %d of the U-Boot state, at byte %d: %w", i+1, at, err)
			continue
		}
		if r.newest < 0 || newer(serial, r.serial) {
			r.State, r.serial, r.newest = s, serial, i
		}
	}
	return r
}

func readCopy(disk io.ReaderAt, at int64) (State, int, error) {
	b := make([]byte, Size)
	if n, err := disk.ReadAt(b, at); n < Size {
		return State{}, 0, err
	}
	return decode(b)
}

// Disk is a disk open for reading and writing. Sync returns when all that was
// written is on the medium, and has the next reads ask the medium.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Write changes the state. It writes one copy only, the older or the broken
// one, so a power cut leaves the other one valid. On return the change is on the
// medium and was read back. A state that is there already is not written
// again, unless a copy is broken.
func Write(disk Disk, l Layout, s State) error {
	if err := errors.Join(l.Check(), s.Check()); err != nil {
		return err
	}
	old := Read(disk, l)
	if old.Problem() == nil && old.State == s {
		return nil
	}
	target, serial := 0, 0
	if old.newest >= 0 {
		target, serial = 1-old.newest, nextSerial(old.serial)
	}
	b, err := s.Encode(serial)
	if err != nil {
		return err
	}
	at := l.Offsets[target]
	failed := func(err error) error {
		return fmt.Errorf("write copy %d of the U-Boot state, at byte %d: %w: check the disk", target+1, at, err)
	}
	if _, err := disk.WriteAt(b, at); err != nil {
		return failed(err)
	}
	if err := disk.Sync(); err != nil {
		return failed(err)
	}
	got := make([]byte, Size)
	if n, err := disk.ReadAt(got, at); n < Size {
		return failed(err)
	}
	if !bytes.Equal(got, b) {
		return failed(errors.New("it reads back as something else"))
	}
	if now := Read(disk, l); now.State != s {
		return failed(fmt.Errorf("the state is still slot %s, trial %q", now.OK, now.Try))
	}
	return nil
}
