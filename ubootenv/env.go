// Package ubootenv reads and writes the state that U-Boot's boot script and
// the node agent share: which slot is the default and which is to be tried
// once. It lies in two raw copies outside any file system, each a U-Boot
// environment with a checksum, so that a power cut during a change leaves
// either the old or the new state.
//
// Finding the disk and the offsets of the copies on it is left to the caller.
// The script is made by the builder's package bootscript.
package ubootenv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
)

const (
	// headerBytes is the checksum. Builds of U-Boot with a redundant environment
	// of their own put a byte of flags behind it (include/env_internal.h, env_t); the
	// boards here have none.
	headerBytes = 4
	// maxBytes bounds what Parse takes; U-Boot's own environments have up to 256 KiB.
	maxBytes = 1 << 20
)

// Env is the variables of an environment by name.
type Env map[string]string

// Parse reads an environment as U-Boot's `env export -c` writes it: the
// CRC-32 of all that follows, little endian, then "name=value" strings, each ended
// by a NUL, an empty string, and padding of any value. Of a variable that is there
// twice the last one counts, as in U-Boot (lib/hashtable.c, himport_r).
//
// U-Boot escapes backslashes in values, fw_printenv does not. Parse
// returns values as they are stored.
func Parse(b []byte) (Env, error) {
	if len(b) < headerBytes+1 || len(b) > maxBytes {
		return nil, fmt.Errorf("U-Boot environment has %d bytes: want %d to %d", len(b), headerBytes+1, maxBytes)
	}
	rest := b[headerBytes:]
	if got, want := crc32.ChecksumIEEE(rest), binary.LittleEndian.Uint32(b); got != want {
		return nil, fmt.Errorf("U-Boot environment has checksum %08x, but says %08x", got, want)
	}
	env := Env{}
	for {
		text, after, ended := bytes.Cut(rest, []byte{0})
		if !ended {
			return nil, fmt.Errorf("U-Boot environment does not end within its %d bytes", len(b))
		}
		if len(text) == 0 {
			return env, nil
		}
		name, value, ok := strings.Cut(string(text), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("U-Boot environment has %q in the place of name=value", text)
		}
		env[name], rest = value, after
	}
}

// Encode returns the environment in so many bytes, byte for byte what `env
// export -c -s SIZE` makes of the same variables: sorted by name and padded with
// NULs. It refuses what U-Boot or fw_printenv would read differently.
func (e Env) Encode(size int) ([]byte, error) {
	b := make([]byte, headerBytes, max(size, headerBytes))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		value := e[name]
		if name == "" || strings.ContainsAny(name, "=\x00\\ \t#") || strings.ContainsAny(value, "\x00\\") {
			return nil, fmt.Errorf("U-Boot variable %q=%q: a name cannot have = # blanks, neither can have NUL and backslash", name, value)
		}
		b = append(b, name+"="+value+"\x00"...)
	}
	b = append(b, 0)
	if len(b) > size || size > maxBytes {
		return nil, fmt.Errorf("U-Boot environment needs %d bytes, at the most %d, but should have %d", len(b), maxBytes, size)
	}
	b = append(b, make([]byte, size-len(b))...)
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[headerBytes:]))
	return b, nil
}
