package fat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// Replace puts a file in, over what has that name. Its directory must exist.
// What else is there keeps its contents and times. w writes to where v reads,
// and starts where the file system does.
//
// The contents go to free clusters first and are entered last: a write that
// ends early leaves the old file. After an error, v is to be opened again.
func (v *FS) Replace(w io.WriterAt, name string, contents []byte, modified time.Time) error {
	if !fs.ValidPath(name) || name == "." {
		return fs.ErrInvalid
	}
	if err := checkName(path.Base(name)); err != nil {
		return err
	}
	if int64(len(contents)) > maxFileBytes {
		return fmt.Errorf("%d bytes: FAT32 holds files of up to 4 GiB", len(contents))
	}
	dir, err := v.find("find", path.Dir(name))
	if err != nil {
		return err
	}
	if !dir.isDir() {
		return fmt.Errorf("%s is not a directory", path.Dir(name))
	}
	old, err := v.find("find", name)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !isNew {
		return err
	}
	if !isNew && old.isDir() {
		return errors.New("a directory of that name is there")
	}

	chain, err := v.allocate(v.clustersFor(int64(len(contents))))
	if err != nil {
		return err
	}
	for n, c := range chain {
		at := int64(n) * v.clusterBytes
		if _, err := w.WriteAt(contents[at:min(at+v.clusterBytes, int64(len(contents)))], v.offset(c)); err != nil {
			return err
		}
	}
	entry := node{size: uint32(len(contents)), time: modified}
	if len(chain) > 0 {
		entry.cluster = chain[0]
	}
	var freed []uint32
	slots, at := []byte(nil), []int64{old.at}
	if isNew {
		if slots, at, err = v.insert(w, dir, path.Base(name), entry); err != nil {
			return err
		}
	} else {
		if freed, err = v.table.chain(old.cluster, v.table.clusters()); err != nil && old.cluster != 0 {
			return err
		}
		slots = make([]byte, slotBytes)
		if _, err := v.r.ReadAt(slots, old.at); err != nil {
			return err
		}
		entry.put(slots)
	}
	if err := v.writeChanged(w); err != nil {
		return err
	}
	for n, to := range at {
		if _, err := w.WriteAt(slots[n*slotBytes:(n+1)*slotBytes], to); err != nil {
			return err
		}
	}
	for _, c := range freed {
		v.table.set(c, 0)
	}
	return v.writeChanged(w)
}

// insert finds a place for a new name in a directory and returns its entries
// and where they go. A full directory grows by one cluster.
func (v *FS) insert(w io.WriterAt, dir entry, name string, n node) ([]byte, []int64, error) {
	chain, err := v.directory(dir.cluster)
	if err != nil {
		return nil, nil, err
	}
	if len(chain) == 0 {
		return nil, nil, errors.New("its directory has no clusters")
	}
	all, err := v.entries(chain)
	if err != nil {
		return nil, nil, err
	}
	taken := map[[11]byte]bool{}
	for _, e := range all {
		taken[e.short] = true
	}
	slots := named(name, taken, n)
	want := len(slots) / slotBytes
	var free []int64
	b := make([]byte, v.clusterBytes)
	for grown, ended := 0, false; ; grown++ {
		for ; len(chain) > 0; chain = chain[1:] {
			if grown == 0 {
				if _, err := v.r.ReadAt(b, v.offset(chain[0])); err != nil {
					return nil, nil, err
				}
			}
			for at := int64(0); at < v.clusterBytes; at += slotBytes {
				ended = ended || b[at] == 0
				if !ended && b[at] != 0xe5 {
					free = nil
					continue
				}
				if free = append(free, v.offset(chain[0])+at); len(free) == want {
					return slots, free, nil
				}
			}
		}
		last, err := v.table.chain(dir.cluster, maxDirectoryBytes/v.clusterBytes)
		if err != nil {
			return nil, nil, err
		}
		if chain, err = v.allocate(1); err != nil {
			return nil, nil, err
		}
		v.table.set(last[len(last)-1], chain[0])
		clear(b)
		if _, err := w.WriteAt(b, v.offset(chain[0])); err != nil {
			return nil, nil, err
		}
	}
}

// writeChanged writes the allocation tables and what FSInfo says of them.
func (v *FS) writeChanged(w io.WriterAt) error {
	if err := v.writeTable(w, v.table); err != nil {
		return err
	}
	info := make([]byte, v.sectorBytes)
	for _, at := range []int64{v.fsInfo, v.backup + v.fsInfo} {
		if _, err := v.r.ReadAt(info, at); err != nil {
			return err
		}
		if string(info[:4]) != "RRaA" { // not every system makes the backup
			continue
		}
		v.putFree(info)
		if _, err := w.WriteAt(info, at); err != nil {
			return err
		}
	}
	return nil
}
