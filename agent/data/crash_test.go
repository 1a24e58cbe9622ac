package data

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// memoryMachine boots from a disk that records its writes.
func memoryMachine(t *testing.T, size int64) (*machine, *disk) {
	t.Helper()
	d := &disk{size: size, sectors: map[int64][512]byte{}}
	image := imageContents(t)
	for at := 0; at < len(image); at += 512 {
		if sector := [512]byte(image[at:]); sector != ([512]byte{}) {
			d.sectors[int64(at/512)] = sector
		}
	}
	return bootFrom(t, d), d
}

func bootFrom(t *testing.T, d *disk) *machine {
	m := &machine{t: t, disk: d, size: d.size, sector: 512}
	m.addImageParts()
	return m
}

// states calls visit for every state a power cut could leave on a disk during
// the writes in log: after each sync, all that was synced and of the writes since any prefix,
// any one sector missing, any one sector alone, and one sector torn in the middle or noise.
func states(start *disk, log []write, visit func(what string, d *disk)) {
	durable := start.clone()
	var pending []write // single sectors
	apply := func(d *disk, writes []write) *disk {
		for _, w := range writes {
			d.WriteAt(w.data, w.at)
		}
		d.log = nil
		return d
	}
	noise := rand.New(rand.NewPCG(3, 4))
	flush := func() {
		for i := range pending {
			visit("prefix", apply(durable.clone(), pending[:i]))
			visit("one missing", apply(apply(durable.clone(), pending[:i]), pending[i+1:]))
			visit("one alone", apply(durable.clone(), pending[i:i+1]))
			w := pending[i]
			half := write{w.at, w.data[:len(w.data)/2]}
			visit("torn", apply(apply(durable.clone(), pending[:i]), []write{half}))
			random := bytes.Clone(w.data)
			for j := range random {
				random[j] = byte(noise.Uint32())
			}
			visit("noise", apply(apply(durable.clone(), pending[:i]), []write{{w.at, random}}))
		}
		apply(durable, pending)
		pending = nil
		visit("synced", durable.clone())
	}
	for _, w := range log {
		if w.data == nil {
			flush()
			continue
		}
		for at := 0; at < len(w.data); at += 512 {
			pending = append(pending, write{w.at + int64(at), w.data[at:min(at+512, len(w.data))]})
		}
	}
	flush()
}

// kernelEntries returns the partition entries Linux would use with "gpt" on its
// command line (block/partitions/efi.c, find_valid_gpt), nil if none.
func kernelEntries(d *disk) []byte {
	last := d.size/512 - 1
	if entries, _ := validGPT(d, 1, last); entries != nil {
		return entries
	}
	entries, _ := validGPT(d, last, last)
	return entries
}

func validGPT(d *disk, lba, last int64) (entries, header []byte) {
	h := make([]byte, 512)
	if _, err := d.ReadAt(h, lba*512); err != nil {
		return nil, nil
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(h[at:]) }
	u64 := func(at int) int64 { return int64(binary.LittleEndian.Uint64(h[at:])) }
	size := u32(12)
	if string(h[:8]) != "EFI PART" || size < 92 || size > 512 {
		return nil, nil
	}
	summed := bytes.Clone(h[:size])
	clear(summed[16:20])
	if crc32.ChecksumIEEE(summed) != u32(16) || u64(24) != lba || u64(40) > last || u64(48) > last || u64(48) < u64(40) || u32(84) != 128 {
		return nil, nil
	}
	entries = make([]byte, u32(80)*128)
	if _, err := d.ReadAt(entries, u64(72)*512); err != nil || crc32.ChecksumIEEE(entries) != u32(88) {
		return nil, nil
	}
	return entries, h
}

// tableOnly runs the part of Prepare that writes the partition table.
func (m *machine) tableOnly() error {
	p := &preparation{Options: m.options()}
	p.Progress, p.Empty = func(string) {}, func() {}
	return p.onBootDisk(m.t.Context())
}

func checkTableStates(t *testing.T, before *disk, log []write, done *disk) {
	t.Helper()
	original := kernelEntries(before)
	if original == nil {
		t.Fatal("no table to start with")
	}
	wanted := kernelEntries(done)
	kinds := map[string]int{}
	withData, samples := 0, map[string]*disk{}
	states(before, log, func(what string, d *disk) {
		kinds[what]++
		entries := kernelEntries(d)
		if entries == nil {
			t.Fatalf("%s (state %d): no valid partition table", what, kinds[what])
		}
		if !bytes.Equal(entries[:3*128], original[:3*128]) {
			t.Fatalf("%s (state %d): entries of boot and slots changed", what, kinds[what])
		}
		if bytes.Equal(entries, wanted) {
			withData++
		} else if !bytes.Equal(entries, original) {
			t.Fatalf("%s (state %d): a table that is neither old nor new", what, kinds[what])
		}
		again := bootFrom(t, d)
		if e := entries[3*128:][:128]; e[0] != 0 {
			again.part(4, "data", int64(binary.LittleEndian.Uint64(e[32:]))*512, int64(binary.LittleEndian.Uint64(e[40:])-binary.LittleEndian.Uint64(e[32:])+1)*512)
		}
		if err := again.tableOnly(); err != nil {
			t.Fatalf("%s (state %d): second run: %v", what, kinds[what], err)
		}
		final, primary := validGPT(d, 1, d.size/512-1)
		backup, _ := validGPT(d, d.size/512-1, d.size/512-1)
		if !bytes.Equal(final, backup) || primary == nil || !bytes.Equal(final[:3*128], original[:3*128]) || !bytes.Equal(final[3*128+32:], wanted[3*128+32:]) {
			t.Fatalf("%s (state %d): second run leaves another table", what, kinds[what])
		}
		samples[what] = d
	})
	t.Logf("states: %v, %d of them with the new table", kinds, withData)
	if withData == 0 || withData == kinds["prefix"]+kinds["one missing"]+kinds["one alone"]+kinds["torn"]+kinds["noise"]+kinds["synced"] {
		t.Error("the states do not cover the change")
	}
	for what, d := range samples {
		if out := tool(t, "sgdisk", "-v", d.toFile(t)); !strings.Contains(out, "No problems found") {
			t.Errorf("%s: sgdisk after the second run: %s", what, out)
		}
	}
}

func (d *disk) toFile(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(d.size); err != nil {
		t.Fatal(err)
	}
	for i, s := range d.sectors {
		if _, err := f.WriteAt(s[:], i*512); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

func TestPowerCutWhileDataIsAdded(t *testing.T) {
	m, d := memoryMachine(t, 8<<30)
	before := d.clone()
	if err := m.tableOnly(); err != nil {
		t.Fatal(err)
	}
	checkTableStates(t, before, tableWrites(d.log), d)
}

func TestPowerCutWhileDataIsAddedToADiskOfTheImagesSize(t *testing.T) {
	// The backup is at the disk's end already and is overwritten.
	m, d := memoryMachine(t, 200*mib)
	if err := m.tableOnly(); err != nil {
		t.Fatal(err)
	}
	without := d.clone()
	table, err := readGPT(without, m.device())
	if err != nil {
		t.Fatal(err)
	}
	g := table.(*guidTable)
	g.table.Partitions = g.table.Partitions[:3]
	if err := g.write(); err != nil {
		t.Fatal(err)
	}
	without.log = nil
	start := without.clone()
	if err := bootFrom(t, without).tableOnly(); err != nil {
		t.Fatal(err)
	}
	checkTableStates(t, start, tableWrites(without.log), without)
}

func TestPowerCutWhileDataGrows(t *testing.T) {
	m, d := memoryMachine(t, 200*mib)
	if err := m.tableOnly(); err != nil {
		t.Fatal(err)
	}
	d.size, d.log = 4<<30, nil
	before := d.clone()
	grown := bootFrom(t, d)
	grown.part(4, "data", dataStart, 200*mib-mib-dataStart)
	if err := grown.tableOnly(); err != nil {
		t.Fatal(err)
	}
	checkTableStates(t, before, tableWrites(d.log), d)
}

// tableWrites leaves out the writes that clear the space data will take: they
// are thousands of sectors that say nothing about the table.
func tableWrites(log []write) []write {
	var writes []write
	for _, w := range log {
		if len(w.data) < 128<<10 {
			writes = append(writes, w)
		}
	}
	return writes
}

func TestOnlyWhatIsNotZeroIsCleared(t *testing.T) {
	const end = 256<<10 - 512 // of what is cleared at each end
	for name, c := range map[string]struct {
		dirty  []int64
		writes int
	}{
		"a new card": {nil, 0},
		"its start":  {[]int64{end}, 1},
		"its end":    {[]int64{8<<20 - 512}, 1},
		"both":       {[]int64{0, 8<<20 - end}, 2},
	} {
		d := &disk{size: 8 << 20, sectors: map[int64][512]byte{}}
		for _, at := range c.dirty {
			d.sectors[at/512] = [512]byte{1}
		}
		if err := clearSignatures(d, 0, d.size); err != nil {
			t.Fatal(err)
		}
		if len(d.log) != c.writes+1 || d.log[c.writes].data != nil {
			t.Errorf("%s: %d writes and syncs, want %d writes and a sync", name, len(d.log), c.writes)
		}
		for at, sector := range d.sectors {
			if sector != ([512]byte{}) {
				t.Errorf("%s: sector %d is not cleared", name, at)
			}
		}
	}
}

// The order of claim and table: at the first moment the table has data, the
// space it names is blank.
func TestSpaceIsClearedBeforeTheTableNamesIt(t *testing.T) {
	m, d := memoryMachine(t, 8<<30)
	for i := range int64(2048) {
		d.sectors[dataStart/512+i] = [512]byte{1, 2, 3}
	}
	before := d.clone()
	if err := m.tableOnly(); err != nil {
		t.Fatal(err)
	}
	now := before.clone()
	for _, w := range d.log {
		if w.data != nil {
			now.WriteAt(w.data, w.at)
		}
		e := kernelEntries(now)[3*128:]
		if e[0] == 0 {
			continue
		}
		if found, content, err := inspect(window{now, dataStart}, int64(binary.LittleEndian.Uint64(e[40:]))*512-dataStart); err != nil || found != unfinished {
			t.Fatalf("the table names a partition that holds %s (%d), %v", content, found, err)
		}
	}
}

func TestSectorZeroOfAGPTDiskIsNotWritten(t *testing.T) {
	m, d := memoryMachine(t, 8<<30)
	if err := m.tableOnly(); err != nil {
		t.Fatal(err)
	}
	for _, w := range d.log {
		if w.data != nil && w.at < 512 {
			t.Errorf("sector 0 was written")
		}
	}
}

func TestTornPrimaryTableIsRepaired(t *testing.T) {
	for _, torn := range []int64{1, 2, 33, 8<<30/512 - 1} {
		m, d := memoryMachine(t, 8<<30)
		if err := m.tableOnly(); err != nil {
			t.Fatal(err)
		}
		good := kernelEntries(d)
		d.sectors[torn] = [512]byte{0xde, 0xad}
		again := bootFrom(t, d)
		again.parts = m.parts
		if err := again.tableOnly(); err != nil {
			t.Fatal(err)
		}
		if primary, _ := validGPT(d, 1, d.size/512-1); !bytes.Equal(primary, good) {
			t.Errorf("sector %d: the primary table is not as before", torn)
		}
		if backup, _ := validGPT(d, d.size/512-1, d.size/512-1); !bytes.Equal(backup, good) {
			t.Errorf("sector %d: the backup table is not as before", torn)
		}
	}
}
