package slot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// Variables is a folder where efivarfs is mounted, usually
// /sys/firmware/efi/efivars. A variable is a file NAME-GUID: four bytes of
// attributes, then the value (kernel documentation, filesystems/efivarfs.rst).
type Variables string

// loaderGUID is the vendor GUID of the boot loader interface
// (systemd.io/BOOT_LOADER_INTERFACE).
const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// attributes of variables we write: non-volatile, boot service and run time access.
const attributes = 7

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// maxVariable bounds what is read of a variable; entry names are far shorter.
const maxVariable = 4096

// BootPartUUID returns the GUID of the partition systemd-boot was started
// from, in lower case. It returns an empty string if the boot chain did not say.
func (v Variables) BootPartUUID() (string, error) {
	uuid, err := v.text("LoaderDevicePartUUID")
	return strings.ToLower(uuid), err
}

func (v Variables) path(name string) string {
	return filepath.Join(string(v), name+"-"+loaderGUID)
}

// text reads a variable with a UTF-16 string; a variable that does not exist
// is empty.
func (v Variables) text(name string) (string, error) {
	b, err := os.ReadFile(v.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read EFI variable %s: %w", name, err)
	}
	return decodeText(name, b)
}

func decodeText(name string, b []byte) (string, error) {
	if len(b) < 4 || len(b)%2 != 0 || len(b) > maxVariable {
		return "", fmt.Errorf("EFI variable %s has %d bytes: not a string", name, len(b))
	}
	var units []uint16
	for b = b[4:]; len(b) > 0; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units)), nil
}

func encodeText(s string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, attributes)
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// setText writes a variable and reads it back. One that has the value already
// is left alone: firmware keeps variables in flash.
func (v Variables) setText(name, value string) error {
	if old, err := v.text(name); err == nil && old == value {
		return nil
	}
	path := v.path(name)
	if err := clearImmutable(path); err != nil {
		return fmt.Errorf("make EFI variable %s writable: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write EFI variable %s: %w: is efivarfs mounted and writable?", name, err)
	}
	// The file system takes a variable in a single write.
	_, err = f.Write(encodeText(value))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write EFI variable %s: %w", name, err)
	}
	got, err := v.text(name)
	if err != nil {
		return err
	}
	if got != value {
		return fmt.Errorf("wrote %q to EFI variable %s, but it reads %q: the firmware does not keep variables", value, name, got)
	}
	return nil
}

// clearImmutable lifts the flag efivarfs puts on variables so that `rm -rf`
// does not break machines.
func clearImmutable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	if flags&immutable == 0 {
		return nil
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable)
}
