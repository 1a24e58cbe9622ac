package verity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Parameter is the name of the kernel command line's parameter.
const Parameter = "skerry.slot"

const (
	// maxSalt is what cryptsetup accepts.
	maxSalt = 256
	// maxBytes bounds all offsets, so that no sum of them overflows.
	maxBytes = 1 << 50
)

// Params say where in a slot the root file system and its hash tree are.
type Params struct {
	Root   int64  // byte offset of the file system in the slot
	Blocks int64  // of BlockSize bytes, that the file system has
	Tree   int64  // byte offset of the hash tree in the slot, behind the file system
	Salt   []byte // up to 256 bytes
	Hash   [sha256.Size]byte
}

// String returns the value of the parameter skerry.slot.
func (p Params) String() string {
	return fmt.Sprintf("root=%d,blocks=%d,tree=%d,salt=%x,hash=%x", p.Root, p.Blocks, p.Tree, p.Salt, p.Hash)
}

// Sectors returns the length of the verified device in sectors of 512 bytes.
func (p Params) Sectors() int64 { return p.Blocks * (BlockSize / 512) }

// End returns the number of bytes from the start of the slot that are used.
func (p Params) End() int64 { return p.Tree + TreeSize(p.Blocks) }

func (p Params) check() error {
	switch {
	case p.Root < 0 || p.Root%BlockSize != 0 || p.Root > maxBytes:
		return fmt.Errorf("root=%d is not a multiple of %d up to 2^50", p.Root, BlockSize)
	case p.Blocks < 1 || p.Blocks > maxBytes/BlockSize:
		return fmt.Errorf("blocks=%d is not between 1 and 2^38", p.Blocks)
	case p.Tree%BlockSize != 0 || p.Tree > 2*maxBytes || p.Tree < p.Root+p.Blocks*BlockSize:
		return fmt.Errorf("tree=%d is not a multiple of %d behind the last data block at %d",
			p.Tree, BlockSize, p.Root+p.Blocks*BlockSize)
	case len(p.Salt) > maxSalt:
		return fmt.Errorf("salt has %d bytes: the limit is %d", len(p.Salt), maxSalt)
	}
	return nil
}

// ParseParams parses what String returns, and nothing else: every value has
// one way to be written.
func ParseParams(s string) (Params, error) {
	p, err := parse(s)
	if err != nil {
		return Params{}, fmt.Errorf("%s=%.80q: %w", Parameter, s, err)
	}
	return p, nil
}

func parse(s string) (Params, error) {
	var p Params
	fields := strings.Split(s, ",")
	if len(fields) != 5 || len(s) > 1024 {
		return p, errors.New("want root=…,blocks=…,tree=…,salt=…,hash=…")
	}
	for i, f := range []struct {
		name string
		set  func(string) error
	}{
		{"root", number(&p.Root)},
		{"blocks", number(&p.Blocks)},
		{"tree", number(&p.Tree)},
		{"salt", func(v string) (err error) { p.Salt, err = hex.DecodeString(v); return err }},
		{"hash", func(v string) error {
			if len(v) != 2*sha256.Size {
				return fmt.Errorf("%d characters, want %d", len(v), 2*sha256.Size)
			}
			_, err := hex.Decode(p.Hash[:], []byte(v))
			return err
		}},
	} {
		name, value, found := strings.Cut(fields[i], "=")
		if !found || name != f.name {
			return p, fmt.Errorf("field %d is %q: want %s=…", i+1, fields[i], f.name)
		}
		if err := f.set(value); err != nil {
			return p, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := p.check(); err != nil {
		return p, err
	}
	if p.String() != s {
		return p, errors.New("numbers have no leading zeros or signs, hex digits are lower case")
	}
	return p, nil
}

func number(to *int64) func(string) error {
	return func(v string) (err error) { *to, err = strconv.ParseInt(v, 10, 64); return err }
}

// FromCommandLine returns the parameters on a kernel command line. It is an
// error if there are none, or several: then it is not clear what was signed.
func FromCommandLine(cmdline string) (Params, error) {
	var value string
	count := 0
	for field := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(field, Parameter+"="); ok {
			value = v
			count++
		}
	}
	if count != 1 {
		return Params{}, fmt.Errorf("kernel command line has %d parameters %s, want one: the kernel image was not made by Skerry's builder or was changed",
			count, Parameter)
	}
	return ParseParams(value)
}

// TableParams returns the parameters of a device-mapper target "verity".
// dataDev has to begin with the file system; hashDev is the slot. The options
// are those of the kernel's page, such as "restart_on_corruption" or
// "check_at_most_once".
func (p Params) TableParams(dataDev, hashDev string, options ...string) string {
	salt := "-"
	if len(p.Salt) > 0 {
		salt = hex.EncodeToString(p.Salt)
	}
	s := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %s",
		dataDev, hashDev, BlockSize, BlockSize, p.Blocks, p.Tree/BlockSize, p.Hash, salt)
	if len(options) > 0 {
		s += fmt.Sprintf(" %d %s", len(options), strings.Join(options, " "))
	}
	return s
}
