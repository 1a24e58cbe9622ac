// Package loaderconf makes and changes systemd-boot's loader/loader.conf so
// that a power cut during a change leaves either the old or the new default,
// even when it tears the sector that is written.
//
// The file has one fixed size, a sector, and is overwritten in place. It ends
// in two lines of fixed length for the default:
//
//	default skerry-1.2.0.efi          …
//	#efault skerry-1.1.0.efi          …
//
// The last default in the file counts, and lines that start with # do not
// (systemd-boot, config_defaults_load_from_file). So the line that does not count
// can be written at leisure, and changing the first byte of the last line
// switches over. A single byte cannot be torn.
package loaderconf

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Size of the file in bytes: the smallest sector there is.
const Size = 512

const (
	lineBytes = 160
	first     = Size - 2*lineBytes // where the two lines start
	second    = Size - lineBytes
	active    = "default "
	inactive  = "#efault "
	// MaxEntry is the longest name of an entry that fits.
	MaxEntry = lineBytes - len(active) - 1
)

// File is the open loader.conf.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// New returns the contents of a loader.conf with a default entry and other
// settings, one a line, "timeout 0".
func New(entry string, settings ...string) ([]byte, error) {
	if err := check(entry); err != nil {
		return nil, err
	}
	b := bytes.Repeat([]byte(" "), Size)
	b[first-1] = '\n'
	at := 0
	for _, s := range settings {
		if strings.HasPrefix(strings.TrimSpace(s), "default") || strings.ContainsAny(s, "\r\n") || at+len(s)+1 >= first {
			return nil, fmt.Errorf("loader.conf setting %q: sets the default, has more than one line, or is too long", s)
		}
		at += copy(b[at:], s)
		b[at] = '\n'
		at++
	}
	copy(b[first:], line(active, entry))
	copy(b[second:], line(inactive, entry))
	return b, nil
}

func line(flag, entry string) string {
	return fmt.Sprintf("%-*s\n", lineBytes-1, flag+entry)
}

// check refuses names systemd-boot would not take literally: its patterns
// are globs, it counts boots by a "+" in a name, and it compares in lower case.
func check(entry string) error {
	if entry == "" || len(entry) > MaxEntry {
		return fmt.Errorf("boot entry %q: must have 1 to %d bytes", entry, MaxEntry)
	}
	for _, c := range []byte(entry) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~", rune(c)) {
			return fmt.Errorf("boot entry %q: %q is not one of a-z 0-9 - . _ ~", entry, c)
		}
	}
	return nil
}

// Default returns the default entry in any loader.conf, as systemd-boot reads
// it, and an empty string if there is none.
func Default(contents []byte) string {
	entry := ""
	for _, l := range strings.FieldsFunc(string(contents), func(r rune) bool { return r == '\n' || r == '\r' }) {
		l = strings.Trim(l, " \t")
		key, value, ok := strings.Cut(strings.ReplaceAll(l, "\t", " "), " ")
		if ok && key == "default" {
			entry = strings.ToLower(strings.TrimSpace(value))
		}
	}
	return entry
}

// Read returns the contents of a loader.conf made by New. It fails for any
// other, because that could not be changed safely.
func Read(f File) ([]byte, error) {
	b := make([]byte, Size+1)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read loader.conf: %w", err)
	}
	b = b[:n]
	if n != Size || b[first-1] != '\n' || b[second-1] != '\n' || b[Size-1] != '\n' ||
		string(b[second+1:][:len(active)-1]) != active[1:] || b[second] != active[0] && b[second] != inactive[0] {
		return nil, fmt.Errorf("loader.conf (%d bytes) is not laid out as the image builder makes it: restore it from the release's image", n)
	}
	return b, nil
}

// SetDefault changes the default entry. On return the change is on the medium
// and was read back; a power cut before leaves the old default or the new one.
func SetDefault(f File, entry string) error {
	if err := check(entry); err != nil {
		return err
	}
	b, err := Read(f)
	if err != nil {
		return err
	}
	if Default(b) == entry {
		return nil
	}
	at, text, flip := first, line(active, entry), inactive[:1]
	if b[second] == inactive[0] { // the first line counts, so the second is free
		at, text, flip = second, line(inactive, entry), active[:1]
	}
	for _, write := range []struct {
		text string
		at   int
	}{{text, at}, {flip, second}} {
		if _, err := f.WriteAt([]byte(write.text), int64(write.at)); err != nil {
			return fmt.Errorf("write loader.conf: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write loader.conf: %w", err)
		}
	}
	if b, err = Read(f); err != nil {
		return err
	}
	if got := Default(b); got != entry {
		return fmt.Errorf("wrote default %s to loader.conf, but it reads %q", entry, got)
	}
	return nil
}
