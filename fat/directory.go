package fat

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	slotBytes = 32 // of a directory entry

	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLongName  = 0x0f

	maxDirectoryBytes = 65536 * slotBytes
)

// Check reads every directory once. One that is part of two others, or of
// itself, would never end for who walks it; and if many shared their clusters,
// these would be read once for each. Who only opens files by name needs no
// Check: damage elsewhere does not concern these.
func (v *FS) Check() error {
	seen := map[uint32]bool{v.root: true} // clusters of directories
	for todo := []uint32{v.root}; len(todo) > 0; todo = todo[1:] {
		chain, err := v.directory(todo[0])
		if err != nil {
			return fmt.Errorf("read directory at cluster %d: %w", todo[0], err)
		}
		for n, c := range chain {
			if n > 0 && seen[c] {
				return fmt.Errorf("the directory at cluster %d goes on at cluster %d, which is part of another one", todo[0], c)
			}
			seen[c] = true
		}
		entries, err := v.entries(chain)
		if err != nil {
			return fmt.Errorf("read directory at cluster %d: %w", todo[0], err)
		}
		for _, e := range entries {
			if e.attributes&attrVolume != 0 || !e.isDir() || e.isLink() {
				continue
			}
			if seen[e.cluster] {
				return fmt.Errorf("directory %q begins at cluster %d, as another one does", e.name(), e.cluster)
			}
			seen[e.cluster] = true
			todo = append(todo, e.cluster)
		}
	}
	return nil
}

// directory returns the clusters of the directory at first.
func (v *FS) directory(first uint32) ([]uint32, error) {
	return v.table.chain(first, maxDirectoryBytes/v.clusterBytes+1)
}

// entry is a directory entry with its long name.
type entry struct {
	long       string
	short      [11]byte
	attributes byte
	lowercase  byte
	cluster    uint32
	size       uint32
	modified   time.Time
	at         int64 // byte offset of its 32 bytes in the file system
}

func (e entry) isDir() bool { return e.attributes&attrDirectory != 0 }

// isLink says that the entry is "." or "..".
func (e entry) isLink() bool { return e.short[0] == '.' }

func (e entry) name() string {
	if e.long != "" {
		return e.long
	}
	base, ext := strings.TrimRight(string(e.short[:8]), " "), strings.TrimRight(string(e.short[8:]), " ")
	if e.lowercase&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e.lowercase&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return base
}

// entries returns the live entries of the directory with these clusters.
func (v *FS) entries(chain []uint32) ([]entry, error) {
	var entries []entry
	var long longNameParts
	b := make([]byte, v.clusterBytes)
	for _, c := range chain {
		if _, err := v.r.ReadAt(b, v.offset(c)); err != nil {
			return nil, err
		}
		for at := int64(0); at < v.clusterBytes; at += slotBytes {
			s := b[at : at+slotBytes]
			switch {
			case s[0] == 0:
				return entries, nil
			case s[0] == 0xe5: // deleted
				long = longNameParts{}
				continue
			case s[11]&0x3f == attrLongName:
				long.add(s)
				continue
			}
			e := entry{
				attributes: s[11], lowercase: s[12],
				cluster:  uint32(binary.LittleEndian.Uint16(s[20:]))<<16 | uint32(binary.LittleEndian.Uint16(s[26:])),
				size:     binary.LittleEndian.Uint32(s[28:]),
				modified: fromDOS(binary.LittleEndian.Uint16(s[24:]), binary.LittleEndian.Uint16(s[22:])),
				at:       v.offset(c) + at,
			}
			copy(e.short[:], s)
			e.long = long.of(e.short)
			long = longNameParts{}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// all returns the live entries of the directory at first.
func (v *FS) all(first uint32) ([]entry, error) {
	chain, err := v.directory(first)
	if err != nil {
		return nil, err
	}
	return v.entries(chain)
}

// longNameParts is a long name that is being read: its parts come before the
// entry they belong to, the last part first (section 7).
type longNameParts struct {
	text []uint16
	next byte // number of the part that is missing; 0 when all are there
	sum  byte // checksum of the short name they are for
}

func (l *longNameParts) add(s []byte) {
	number := s[0] & 0x3f
	if s[0]&0x40 != 0 && number <= 20 {
		*l = longNameParts{next: number, sum: s[13]}
	}
	if number == 0 || number != l.next || s[13] != l.sum {
		*l = longNameParts{} // out of order: it is nobody's
		return
	}
	l.next--
	l.text = append(longName(s), l.text...)
}

// of returns the long name if it is complete and that of the short one. A system
// that knows no long names leaves those of files it removed.
func (l *longNameParts) of(short [11]byte) string {
	if l.next != 0 || l.sum != checksum(short) {
		return ""
	}
	return string(utf16.Decode(l.text))
}

// longNameAt is where a slot has the characters of a long name.
var longNameAt = [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// longName returns the up to 13 characters in one slot of a long name.
func longName(s []byte) []uint16 {
	var part []uint16
	for _, at := range longNameAt {
		c := binary.LittleEndian.Uint16(s[at:])
		if c == 0 {
			break
		}
		part = append(part, c)
	}
	return part
}

// find returns the entry at a slash-separated path. That of the root has no
// name and no place.
func (v *FS) find(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := entry{attributes: attrDirectory, cluster: v.root}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		entries, err := v.list(at)
		if err != nil {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
		}
		found := false
		for _, e := range entries {
			if strings.EqualFold(e.name(), part) {
				at, found = e, true
				break
			}
		}
		if !found {
			return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// list returns what is in a directory, without ".", ".." and the label.
func (v *FS) list(dir entry) ([]entry, error) {
	if !dir.isDir() {
		return nil, fs.ErrNotExist
	}
	all, err := v.all(dir.cluster)
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, e := range all {
		if e.attributes&attrVolume == 0 && !e.isLink() {
			list = append(list, e)
		}
	}
	return list, nil
}
