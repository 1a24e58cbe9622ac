package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// checkName allows what every implementation of FAT handles alike.
func checkName(name string) error {
	if len(name) == 0 || len(name) > 255 || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("name %q: FAT holds 1 to 255 characters, the last of them no period and no space", name)
	}
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || strings.IndexByte(`"*/:<>?\|`, c) >= 0 {
			return fmt.Errorf("name %q has a character %q: FAT allows printable ASCII without \"*/:<>?\\|", name, c)
		}
	}
	return nil
}

// shortName returns the 8.3 name of a file in a directory whose short names
// are taken, and whether it needs a long name too (FAT specification, section
// 6.1 and 7). It returns the same names for the same order of calls.
func shortName(name string, taken map[[11]byte]bool) (short [11]byte, long bool) {
	base, ext := strings.TrimLeft(name, "."), ""
	if dot := strings.LastIndexByte(base, '.'); dot >= 0 {
		base, ext = base[:dot], base[dot+1:]
	}
	base, ext = strings.Map(shortCharacter, base), strings.Map(shortCharacter, ext)
	fits := len(base) <= 8 && len(ext) <= 3 && base != ""
	whole := base
	if ext != "" {
		whole += "." + ext
	}
	fits = fits && strings.EqualFold(whole, name) // nothing was dropped or replaced
	ext = ext[:min(len(ext), 3)]
	for n := 0; ; n++ {
		tail := ""
		if n > 0 {
			tail = fmt.Sprintf("~%d", n)
		} else if !fits {
			continue
		}
		copy(short[:], fmt.Sprintf("%-8s%-3s", base[:min(len(base), 8-len(tail))]+tail, ext))
		if !taken[short] {
			return short, whole != name || n > 0
		}
	}
}

// shortCharacter maps to what a short name may have; spaces and periods vanish.
func shortCharacter(c rune) rune {
	switch {
	case c >= 'a' && c <= 'z':
		return c - 'a' + 'A'
	case c == ' ' || c == '.':
		return -1
	case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("$%'-_@~`!(){}^#&", c):
		return c
	}
	return '_'
}

// node is what a directory entry says besides the name.
type node struct {
	attributes byte
	cluster    uint32
	size       uint32
	time       time.Time
}

// slotsOf returns the entry, preceded by those of the long name if there is one.
func slotsOf(short [11]byte, long string, n node) []byte {
	var b []byte
	const perSlot = 13
	for part := (len(long) + perSlot - 1) / perSlot; part > 0; part-- {
		s := make([]byte, slotBytes)
		s[0] = byte(part)
		if part*perSlot >= len(long) {
			s[0] |= 0x40 // the last part comes first
		}
		s[11], s[13] = attrLongName, checksum(short)
		for i, at := range longNameAt {
			c := uint16(0xffff) // after the end, which is one zero
			if k := (part-1)*perSlot + i; k < len(long) {
				c = uint16(long[k])
			} else if k == len(long) {
				c = 0
			}
			binary.LittleEndian.PutUint16(s[at:], c)
		}
		b = append(b, s...)
	}
	s := make([]byte, slotBytes)
	copy(s, short[:])
	s[11] = n.attributes
	n.put(s)
	return append(b, s...)
}

// put sets what may change in the 32 bytes of an existing entry.
func (n node) put(s []byte) {
	date, clock := toDOS(n.time)
	le := binary.LittleEndian
	s[13] = 0 // hundredths of a second of the creation
	le.PutUint16(s[14:], clock)
	le.PutUint16(s[16:], date)
	le.PutUint16(s[18:], date)
	le.PutUint16(s[20:], uint16(n.cluster>>16))
	le.PutUint16(s[22:], clock)
	le.PutUint16(s[24:], date)
	le.PutUint16(s[26:], uint16(n.cluster))
	le.PutUint32(s[28:], n.size)
}

// checksum ties the parts of a long name to the short one (section 7.2).
func checksum(short [11]byte) byte {
	sum := byte(0)
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

func padded(s string) (short [11]byte) {
	copy(short[:], fmt.Sprintf("%-11s", s))
	return short
}
