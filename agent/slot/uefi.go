package slot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/loaderconf"
)

// Variables of the boot loader interface.
const (
	entrySelected = "LoaderEntrySelected"
	entryDefault  = "LoaderEntryDefault" // overrides loader.conf
	entryOneShot  = "LoaderEntryOneShot"
)

// UEFI is the boot chain of UEFI boards: systemd-boot, which starts
// EFI/Linux/skerry-VERSION.efi from partition boot. The default is in
// loader/loader.conf, a trial in the EFI variable LoaderEntryOneShot, which
// systemd-boot removes before it starts the entry.
type UEFI struct {
	// Boot is partition boot for reading: mounted, or a [fat.FS] opened just now.
	Boot      fs.FS
	Variables Variables
	// Running is the slot that runs now: its letter from Find, its version
	// from the root. A release of another version is in the other slot.
	Running Slot
	// OpenLoaderConf opens loader.conf for writing in place, after whatever
	// it takes to make partition boot writable; Close undoes that. Try and Commit
	// need it. See [OpenInPlace].
	OpenLoaderConf func() (LoaderConf, error)
}

// LoaderConf is loader.conf open for writing.
type LoaderConf interface {
	loaderconf.File
	io.Closer
}

var _ Bootloader = UEFI{}

// Default implements [Bootloader].
func (u UEFI) Default() (Slot, error) {
	entry, err := u.defaultEntry()
	if err != nil {
		return Slot{}, err
	}
	return u.slot(entry)
}

func (u UEFI) defaultEntry() (string, error) {
	entry, err := u.Variables.text(entryDefault)
	if err != nil {
		return "", err
	}
	if entry != "" {
		return strings.ToLower(entry), nil
	}
	contents, err := fs.ReadFile(u.Boot, loaderConfName)
	if err != nil {
		return "", fmt.Errorf("read the default boot entry: %w", err)
	}
	if entry = loaderconf.Default(contents); entry == "" {
		return "", fmt.Errorf("%s names no default boot entry", loaderConfName)
	}
	return entry, nil
}

// Booted implements [Bootloader]. A boot is a trial when its entry is not the
// default one, whoever chose it.
func (u UEFI) Booted() (Slot, bool, error) {
	selected, err := u.Variables.text(entrySelected)
	if err != nil {
		return Slot{}, false, err
	}
	if selected == "" {
		return Slot{}, false, errors.New("EFI variable LoaderEntrySelected does not exist: the node was not started by systemd-boot, or efivarfs is not mounted")
	}
	s, err := u.slot(strings.ToLower(selected))
	if err != nil {
		return Slot{}, false, err
	}
	if s != u.Running {
		return Slot{}, false, fmt.Errorf("the boot loader started %s, but slot %s runs", selected, u.Running)
	}
	usual, err := u.Default()
	if err != nil {
		return s, false, err
	}
	return s, s != usual, nil
}

// Try implements [Bootloader]. It also fails if Commit could not work later.
func (u UEFI) Try(s Slot) error {
	entry, err := u.installed(s)
	if err != nil {
		return fmt.Errorf("try slot %s: %w", s, err)
	}
	f, err := u.OpenLoaderConf()
	if err != nil {
		return fmt.Errorf("try slot %s: %w", s, err)
	}
	_, err = loaderconf.Read(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("try slot %s: it could not be committed: %w", s, err)
	}
	if err := u.Variables.setText(entryOneShot, entry); err != nil {
		return fmt.Errorf("try slot %s: %w", s, err)
	}
	return nil
}

// Commit implements [Bootloader].
func (u UEFI) Commit(s Slot) error {
	entry, err := u.installed(s)
	if err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	f, err := u.OpenLoaderConf()
	if err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	err = loaderconf.SetDefault(f, entry)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	usual, err := u.defaultEntry()
	if err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	if usual != entry {
		return fmt.Errorf("commit slot %s: the default is still %s: EFI variable %s overrides loader.conf and must be removed", s, usual, entryDefault)
	}
	return nil
}

// installed returns the boot entry of a slot, whose file must exist.
func (u UEFI) installed(s Slot) (string, error) {
	entry := entryOf(s)
	if at, err := u.slot(entry); err != nil || at != s {
		return "", fmt.Errorf("slot %s is what runs, so version %s belongs into the other slot", u.Running, s.Version)
	}
	name := "EFI/Linux/" + entry
	if info, err := fs.Stat(u.Boot, name); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s does not exist on partition boot: the kernel image must be installed first", name)
	} else if err != nil {
		return "", err
	}
	return entry, nil
}

const (
	loaderConfName = "loader/loader.conf" // on partition boot

	entryPrefix = "skerry-"
	entrySuffix = ".efi"
)

// entryOf is the boot entry of a slot. systemd-boot names entries after files,
// in lower case.
func entryOf(s Slot) string { return entryPrefix + strings.ToLower(s.Version) + entrySuffix }

// slot finds the slot of a boot entry.
func (u UEFI) slot(entry string) (Slot, error) {
	version, isOurs := strings.CutPrefix(entry, entryPrefix)
	version, isFile := strings.CutSuffix(version, entrySuffix)
	if !isOurs || !isFile || version == "" {
		return Slot{}, fmt.Errorf("boot entry %q is not of a Skerry release: its name should be %sVERSION%s", entry, entryPrefix, entrySuffix)
	}
	if entry == entryOf(u.Running) {
		return u.Running, nil
	}
	return Slot{Letter: u.Running.Letter.Other(), Version: version}, nil
}

// OpenInPlace opens a file for overwriting. Sync also drops it from the
// kernel's cache, so that reading it back asks the medium.
func OpenInPlace(path string) (LoaderConf, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return inPlace{f}, nil
}

type inPlace struct{ *os.File }

func (f inPlace) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
