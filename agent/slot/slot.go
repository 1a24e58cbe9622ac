// Package slot knows the two slots of a node: it finds the one this boot's
// kernel command line describes, opens it through dm-verity, tells what
// dm-verity refuses to read, and speaks to the boot chain about which slot is
// the default and which is to be tried.
//
// Writing slots and deciding whether a trial succeeded are left to the update
// code, mounting what was opened to the stages.
package slot

import (
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// Letter names one of the two slots.
type Letter string

const (
	A Letter = "A"
	B Letter = "B"
)

// Other returns the slot that is not l.
func (l Letter) Other() Letter {
	if l == A {
		return B
	}
	return A
}

// Slot is a slot and the version of the release in it. Boot chains that name
// slots by their place use the letter, those that name them by a file on
// partition boot use the version.
type Slot struct {
	Letter  Letter
	Version string
}

// String is "A (1.2.3)", or "A" where the version is not known.
func (s Slot) String() string {
	if s.Version == "" {
		return string(s.Letter)
	}
	return fmt.Sprintf("%s (%s)", s.Letter, s.Version)
}

// partitionName is the name of a slot's partition in a GPT.
func (l Letter) partitionName() string { return "slot-" + strings.ToLower(string(l)) }

// number is the number of a slot's partition, on every board.
func (l Letter) number() int {
	if l == A {
		return 2
	}
	return 3
}

// letterOf says which slot a partition is, by its name or, in an MBR, which
// has no names, by its number.
func letterOf(d blockdev.Device) (Letter, bool) {
	for _, l := range []Letter{A, B} {
		if d.PartName == l.partitionName() || d.PartName == "" && d.Partition == l.number() {
			return l, true
		}
	}
	return "", false
}

// Bootloader is what the agent needs of a board's boot chain: one boot of a
// slot as a trial, and an explicit commit. Try and Commit write boot chain
// state, the other methods only read it.
type Bootloader interface {
	// Default returns the slot booted when nobody says otherwise.
	Default() (Slot, error)
	// Booted returns the slot running now, and whether this boot is a trial.
	Booted() (Slot, bool, error)
	// Try has the next boot, and only that one, use the slot. It fails if that
	// cannot be written and read back.
	Try(Slot) error
	// Commit makes the slot the default, and fails if that cannot be written and read back.
	Commit(Slot) error
}
