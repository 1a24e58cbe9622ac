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

// checkDirectories reads every directory once and finds the label. A directory
// that is part of two others, or of itself, would never end for who walks it;
// and if many shared their clusters, these would be read once for each.
func (v *FS) checkDirectories() error {
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
			switch {
			case e.attributes&attrVolume != 0:
				if todo[0] == v.root {
					v.label = strings.TrimRight(string(e.short[:]), " ")
				}
			case e.isDir() && !e.isLink():
				if seen[e.cluster] {
					return fmt.Errorf("directory %q begins at cluster %d, as another one does", e.name(), e.cluster)
				}
				seen[e.cluster] = true
				todo = append(todo, e.cluster)
			}
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
	var long []uint16
	names := 0
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
				long, names = nil, 0
				continue
			case s[11]&0x3f == attrLongName:
				if s[0]&0x40 != 0 || names == 20 {
					long, names = nil, 0
				}
				long, names = append(longName(s), long...), names+1
				continue
			}
			e := entry{
				long: string(utf16.Decode(long)), attributes: s[11], lowercase: s[12],
				cluster:  uint32(binary.LittleEndian.Uint16(s[20:]))<<16 | uint32(binary.LittleEndian.Uint16(s[26:])),
				size:     binary.LittleEndian.Uint32(s[28:]),
				modified: fromDOS(binary.LittleEndian.Uint16(s[24:]), binary.LittleEndian.Uint16(s[22:])),
				at:       v.offset(c) + at,
			}
			copy(e.short[:], s)
			long, names = nil, 0
			entries = append(entries, e)
		}
	}
	return entries, nil
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
	chain, err := v.directory(dir.cluster)
	if err != nil {
		return nil, err
	}
	all, err := v.entries(chain)
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
