package fat

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	lastCluster = 0x0ffffff8 // this and above end a chain
	clusterMask = 0x0fffffff
)

// table is an allocation table as it is on the disk: four bytes a cluster that
// say which one follows it (specification, section 4). The first cluster is 2.
type table []byte

func newTable(clusters int64) table { return make(table, 4*(clusters+2)) }

func (t table) clusters() int64 { return int64(len(t)/4 - 2) }

// end is the number behind that of the last cluster.
func (t table) end() uint32 { return uint32(len(t) / 4) }

// next returns the cluster that follows c; 0 says that c is free.
func (t table) next(c uint32) uint32 { return binary.LittleEndian.Uint32(t[4*c:]) & clusterMask }

// set changes the cluster that follows c; the top four bits are not ours.
func (t table) set(c, next uint32) {
	top := binary.LittleEndian.Uint32(t[4*c:]) &^ clusterMask
	binary.LittleEndian.PutUint32(t[4*c:], top|next)
}

func (t table) free() int64 {
	free := int64(0)
	for c := uint32(2); c < t.end(); c++ {
		if t.next(c) == 0 {
			free++
		}
	}
	return free
}

// chain returns the clusters that follow first, itself included. It fails on
// loops and on more than limit clusters.
func (t table) chain(first uint32, limit int64) ([]uint32, error) {
	limit = min(limit, t.clusters())
	var chain []uint32
	for c := first; c < lastCluster; c = t.next(c) {
		if c < 2 || c >= t.end() {
			return nil, fmt.Errorf("cluster %d is not one of 2 to %d", c, t.end()-1)
		}
		if int64(len(chain)) == limit {
			return nil, fmt.Errorf("the chain of clusters from %d is longer than %d", first, limit)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// link makes a chain of clusters.
func (t table) link(chain []uint32) {
	for n, c := range chain {
		if n+1 < len(chain) {
			t.set(c, chain[n+1])
		} else {
			t.set(c, clusterMask)
		}
	}
}

// Free returns the number of clusters that are free.
func (v *FS) Free() int64 { return v.table.free() }

// offset returns where a cluster is, in bytes.
func (v *FS) offset(cluster uint32) int64 {
	return v.dataOffset + int64(cluster-2)*v.clusterBytes
}

// allocate takes free clusters, in one chain.
func (v *FS) allocate(count int64) ([]uint32, error) {
	var chain []uint32
	for c := uint32(2); c < v.table.end() && int64(len(chain)) < count; c++ {
		if v.table.next(c) == 0 {
			chain = append(chain, c)
		}
	}
	if int64(len(chain)) < count {
		return nil, fmt.Errorf("%d KiB are needed and %d are free", count*v.clusterBytes>>10, v.Free()*v.clusterBytes>>10)
	}
	v.table.link(chain)
	return chain, nil
}

// writeTable writes the allocation table, or the start of it, to all places
// where it is kept.
func (v *FS) writeTable(w io.WriterAt, t table) error {
	for n := range v.fatCount {
		if _, err := w.WriteAt(t, v.fatOffset+n*v.fatBytes); err != nil {
			return err
		}
	}
	return nil
}

// putFree sets the number of free clusters and the first of them in an FSInfo
// sector (section 5), so that no system has to count them at mount.
func (v *FS) putFree(info []byte) {
	next := uint32(2)
	for next < v.table.end() && v.table.next(next) != 0 {
		next++
	}
	binary.LittleEndian.PutUint32(info[488:], uint32(v.Free()))
	binary.LittleEndian.PutUint32(info[492:], next)
}
