package slot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/skerry-os/skerry/ubootenv"
)

// Words U-Boot's script puts on the kernel's command line. It clears the trial
// before it boots it, so the state on disk does not tell that one is under way.
const (
	bootedWord = "skerry.booted="
	stateWord  = "skerry.state="
	trialWord  = "skerry.trial=1"
)

// BootedByUBoot tells what U-Boot's script says on the kernel's command line:
// which slot it started, and where on that slot's disk the state is that it went
// by. ok is false on a machine that was not started by it.
func BootedByUBoot(commandLine string) (letter Letter, layout ubootenv.Layout, ok bool, err error) {
	value, ok := scriptWord(commandLine, bootedWord)
	if !ok {
		return "", layout, false, nil
	}
	if letter = Letter(value); letter != A && letter != B {
		return "", layout, true, fmt.Errorf("the kernel's command line has %s%.20s: want A or B", bootedWord, value)
	}
	value, _ = scriptWord(commandLine, stateWord)
	if layout, err = ubootenv.ParseLayout(value); err != nil {
		return letter, layout, true, fmt.Errorf("the kernel's command line has %s%.80s: %w", stateWord, value, err)
	}
	return letter, layout, true, nil
}

// scriptWord returns the last value of an argument before "--", behind which
// arguments are for init.
func scriptWord(commandLine, prefix string) (value string, ok bool) {
	for _, word := range strings.Fields(commandLine) {
		if word == "--" {
			break
		}
		if v, found := strings.CutPrefix(word, prefix); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// UBoot is the boot chain of U-Boot boards: U-Boot runs boot.scr from partition
// boot, which goes by the state in two raw copies on the same disk (package
// ubootenv).
//
// The state names slots by their place. The version of the slot that does not
// run is not known here and left empty.
type UBoot struct {
	// Running is the slot that runs now: its letter from Find, its version from
	// the root.
	Running Slot
	// CommandLine is the kernel's: /proc/cmdline.
	CommandLine string
	// Layout is where the state is on the disk that has the slots.
	Layout ubootenv.Layout
	// Open opens that disk, not a partition of it. See [OpenInPlace].
	Open func() (StateDisk, error)
}

// StateDisk is a disk with boot chain state, open for writing in place.
type StateDisk = LoaderConf

var _ Bootloader = UBoot{}

// Default implements [Bootloader]. With both copies of the state broken it is
// slot A, which is what U-Boot's script boots; see Problem.
func (u UBoot) Default() (Slot, error) {
	r, err := u.read()
	if err != nil {
		return Slot{}, fmt.Errorf("read the default slot: %w", err)
	}
	return u.slot(r.OK), nil
}

// Problem says which copies of the state are broken, nil if none is. The next
// Try or Commit repairs one.
func (u UBoot) Problem() error {
	r, err := u.read()
	if err != nil {
		return err
	}
	switch {
	case r.Problems[0] != nil && r.Problems[1] != nil:
		return fmt.Errorf("%w: U-Boot boots slot A until a release is committed", r.Problem())
	case r.Problem() != nil:
		return fmt.Errorf("%w: U-Boot uses the other copy", r.Problem())
	}
	return nil
}

// Booted implements [Bootloader]. Where neither slot is on trial and this is not
// the default one, the default's kernel could not be loaded.
func (u UBoot) Booted() (Slot, bool, error) {
	letter, _ := scriptWord(u.CommandLine, bootedWord)
	rest, trial := scriptWord(u.CommandLine, trialWord)
	trial = trial && rest == ""
	if letter == "" {
		return Slot{}, false, fmt.Errorf("the kernel's command line has no %sA or B: the node was not started by Skerry's U-Boot script", bootedWord)
	}
	if letter != string(u.Running.Letter) {
		return Slot{}, false, fmt.Errorf("U-Boot started slot %s, but slot %s runs: do both hold the same release?", letter, u.Running)
	}
	return u.Running, trial, nil
}

// Try implements [Bootloader]. U-Boot's script boots the default if the slot has
// no kernel it can load.
func (u UBoot) Try(s Slot) error {
	if err := u.change(s, func(now *ubootenv.State) { now.Try = string(s.Letter) }); err != nil {
		return fmt.Errorf("try slot %s: %w", s, err)
	}
	return nil
}

// Commit implements [Bootloader]. It also takes back a trial that was not
// booted yet.
func (u UBoot) Commit(s Slot) error {
	if err := u.change(s, func(now *ubootenv.State) { *now = ubootenv.State{OK: string(s.Letter)} }); err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	return nil
}

func (u UBoot) change(s Slot, change func(*ubootenv.State)) error {
	if s.Letter != A && s.Letter != B {
		return fmt.Errorf("there is no slot %q", s.Letter)
	}
	if s.Letter == u.Running.Letter && s.Version != u.Running.Version {
		return fmt.Errorf("slot %s is what runs, so version %s belongs into the other slot", u.Running, s.Version)
	}
	return u.with(func(d StateDisk) error {
		r := ubootenv.Read(d, u.Layout)
		if r.Problems[0] != nil && r.Problems[1] != nil {
			// Nobody knows what was the default. What runs is known to boot.
			r.OK = string(u.Running.Letter)
		}
		change(&r.State)
		return ubootenv.Write(d, u.Layout, r.State)
	})
}

func (u UBoot) read() (ubootenv.Reading, error) {
	var r ubootenv.Reading
	err := u.with(func(d StateDisk) error {
		r = ubootenv.Read(d, u.Layout)
		return nil
	})
	return r, err
}

func (u UBoot) with(do func(StateDisk) error) error {
	if err := u.Layout.Check(); err != nil {
		return err
	}
	d, err := u.Open()
	if err != nil {
		return fmt.Errorf("open the disk with the U-Boot state: %w", err)
	}
	return errors.Join(do(d), d.Close())
}

func (u UBoot) slot(letter string) Slot {
	if letter == string(u.Running.Letter) {
		return u.Running
	}
	return Slot{Letter: Letter(letter)}
}
