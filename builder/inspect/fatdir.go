package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

const (
	slotBytes = 32 // of a directory entry

	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLongName  = 0x0f

	maxDirectoryBytes = 65536 * slotBytes
)

// maxPath bounds how deep directories are nested.
const maxPath = 1024

// directory is one that is still to be read.
type directory struct {
	path   string // slash-separated; empty for the root
	first  uint32
	parent uint32 // its first cluster; 0 for the root's
}

// String names the directory in findings.
func (d directory) String() string {
	if d.path == "" {
		return "The root directory"
	}
	return fmt.Sprintf("%q", d.path)
}

// checkTree walks all directories. The order is breadth first, and who claims
// a cluster twice is not walked, so that a circle ends.
func (v *fatCheck) checkTree() {
	todo := []directory{{first: v.root}}
	for ; len(todo) > 0; todo = todo[1:] {
		d := todo[0]
		chain, ok := v.claim(d.String(), d.first)
		if !ok {
			continue
		}
		if int64(len(chain))*v.clusterBytes > maxDirectoryBytes {
			v.find("%s has %d clusters: a directory has at most %d bytes.", d, len(chain), maxDirectoryBytes)
			continue
		}
		todo = append(todo, v.checkDirectory(d, chain)...)
		if len(v.names) > maxOwners {
			v.find("It has more than %d files: the rest was not checked.", maxOwners)
			return
		}
	}
}

// scan is the state of reading one directory.
type scan struct {
	directory
	labels int
	taken  map[string]bool // names in lower case
	long   []uint16        // of the long name that is being read, the end of it
	next   byte            // number of its next part
	sum    byte            // checksum of the short name it is for
	sub    []directory
}

// checkDirectory checks the entries in a chain and returns the directories
// among them.
func (v *fatCheck) checkDirectory(d directory, chain []uint32) []directory {
	s := &scan{directory: d, taken: map[string]bool{}}
	b := make([]byte, v.clusterBytes)
	index := 0
	for _, c := range chain {
		if _, err := v.r.ReadAt(b, v.dataOffset+int64(c-2)*v.clusterBytes); err != nil {
			v.find("%s cannot be read: %v.", d, err)
			return s.sub
		}
		for at := int64(0); at < v.clusterBytes; at += slotBytes {
			slot := b[at : at+slotBytes]
			if slot[0] == 0 {
				v.checkNoLong(s)
				if s.path != "" && index < 2 {
					v.find("%s has no entries . and ..", d)
				}
				return s.sub
			}
			v.checkSlot(s, slot, index)
			index++
		}
	}
	v.checkNoLong(s)
	return s.sub
}

// checkNoLong finds a long name that has no entry behind it.
func (v *fatCheck) checkNoLong(s *scan) {
	if s.long != nil {
		v.find("%s has a long name that belongs to no entry, %q.", s.directory, string(utf16.Decode(s.long)))
	}
	s.long = nil
}

func (v *fatCheck) checkSlot(s *scan, slot []byte, index int) {
	if s.path != "" && index < 2 {
		v.checkDots(s, slot, index)
		return
	}
	switch {
	case slot[0] == 0xe5: // deleted
		v.checkNoLong(s)
	case slot[11]&0x3f == attrLongName:
		v.checkLong(s, slot)
	default:
		v.checkEntry(s, slot)
	}
}

// checkDots checks the first two entries of a directory (section 6.5).
func (v *fatCheck) checkDots(s *scan, slot []byte, index int) {
	name, want := ".          ", s.first
	if index == 1 {
		name, want = "..         ", s.parent
	}
	if string(slot[:11]) != name || slot[11]&attrDirectory == 0 {
		v.find("Entry %d of %s is not %q.", index+1, s.directory, strings.TrimSpace(name))
		return
	}
	if got := firstCluster(slot); got != want {
		v.find("Entry %s of %s leads to cluster %d and not to %d.", strings.TrimSpace(name), s.directory, got, want)
	}
}

// longNameAt is where a slot has the characters of a long name.
var longNameAt = [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// checkLong takes one part of a long name; the last part comes first (section 7).
func (v *fatCheck) checkLong(s *scan, slot []byte) {
	number := slot[0] & 0x3f
	if slot[0]&0x40 != 0 {
		v.checkNoLong(s)
		s.long, s.next, s.sum = []uint16{}, number, slot[13]
	}
	if s.long == nil || number != s.next || number == 0 || number > 20 || slot[13] != s.sum {
		v.find("%s has a part of a long name that is out of order, number %d.", s.directory, number)
		s.long = nil
		return
	}
	s.next--
	var part []uint16
	for _, at := range longNameAt {
		c := binary.LittleEndian.Uint16(slot[at:])
		if c == 0 {
			break
		}
		part = append(part, c)
	}
	s.long = append(part, s.long...)
}

// checkEntry checks a file, a directory or the volume label.
func (v *fatCheck) checkEntry(s *scan, slot []byte) {
	short := strings.TrimRight(string(slot[:8]), " ")
	if ext := strings.TrimRight(string(slot[8:11]), " "); ext != "" {
		short += "." + ext
	}
	name := short
	if s.long != nil {
		name = string(utf16.Decode(s.long))
		if s.next != 0 || s.sum != shortSum(slot) {
			v.find("%s has a long name %q that does not fit the short name %q behind it.", s.directory, name, short)
		}
		s.long = nil
	}
	attributes := slot[11]
	at := name
	if s.path != "" {
		at = s.path + "/" + name
	}
	full := fmt.Sprintf("%q", at)
	if attributes&attrVolume != 0 {
		if s.labels++; s.path != "" || s.labels > 1 {
			v.find("%s is a volume label where none belongs.", full)
		}
		return
	}
	if bad := badShort(slot); bad >= 0 || attributes&0xc0 != 0 {
		v.find("%s has a short name %q or attributes %#02x that are not allowed.", full, short, attributes)
	}
	name, short = strings.ToLower(name), strings.ToLower(short)
	if s.taken[name] || s.taken[short] {
		v.find("%s is there twice.", full)
	}
	s.taken[name], s.taken[short] = true, true
	first, size := firstCluster(slot), int64(binary.LittleEndian.Uint32(slot[28:]))
	if attributes&attrDirectory != 0 {
		if size != 0 {
			v.find("Directory %s has a size of %d bytes: it should be 0.", full, size)
		}
		parent := s.first
		if s.path == "" {
			parent = 0
		}
		if len(at) > maxPath {
			v.find("Directories are nested too deep to be checked, below %.100q.", at)
			return
		}
		s.sub = append(s.sub, directory{path: at, first: first, parent: parent})
		return
	}
	if first == 0 {
		if size != 0 {
			v.find("%s has %d bytes and no clusters.", full, size)
		}
		return
	}
	chain, ok := v.claim(full, first)
	if want := (size + v.clusterBytes - 1) / v.clusterBytes; ok && int64(len(chain)) != want {
		v.find("%s has %d clusters: its %d bytes need %d.", full, len(chain), size, want)
	}
}

func firstCluster(slot []byte) uint32 {
	return uint32(binary.LittleEndian.Uint16(slot[20:]))<<16 | uint32(binary.LittleEndian.Uint16(slot[26:]))
}

// badShort returns where a short name has a character that is not allowed
// (section 6.1), and -1 if it has none.
func badShort(slot []byte) int {
	for n, c := range slot[:11] {
		if c == 0x05 && n == 0 { // stands for 0xe5
			continue
		}
		if c < ' ' || c >= 'a' && c <= 'z' || c == ' ' && (n == 0) || bytes.IndexByte([]byte("\"*+,./:;<=>?[\\]|"), c) >= 0 {
			return n
		}
	}
	return -1
}

// shortSum ties the parts of a long name to the short one (section 7.2).
func shortSum(slot []byte) byte {
	sum := byte(0)
	for _, c := range slot[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}
