package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/disk"
)

// tableImage makes a disk with nothing on it but a partition table.
func tableImage(t testing.TB) (string, int64) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	image, err := disk.Create(name, disk.Layout{Seed: testSeed, Partitions: []disk.Spec{
		{Name: disk.Boot, Type: disk.EFISystem, Size: 4 << 20},
		{Name: disk.SlotA, Type: disk.LinuxData, Size: 2 << 20},
		{Name: disk.SlotB, Type: disk.LinuxData, Size: 2 << 20},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	return name, image.Size()
}

// checkTableOf checks the table of a file.
func checkTableOf(t testing.TB, name string, size int64) *Report {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := &Report{Size: size}
	r.checkTable(file)
	return r
}

// edit changes the entries in both tables and makes the checksums right again.
func edit(t testing.TB, name string, size int64, change func(entries []byte)) {
	t.Helper()
	le := binary.LittleEndian
	for _, at := range []int64{sectorBytes, size - sectorBytes} {
		h := peek(t, name, at, sectorBytes)
		entriesAt := int64(le.Uint64(h[72:])) * sectorBytes
		entries := peek(t, name, entriesAt, maxEntries*entryBytes)
		change(entries)
		patch(t, name, entriesAt, entries)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
		seal(h)
		patch(t, name, at, h)
	}
}

// seal puts the checksum into a header.
func seal(h []byte) {
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
}

func TestSgdiskAgreesAboutPartitionTables(t *testing.T) {
	le := binary.LittleEndian
	second, third := 1*entryBytes, 2*entryBytes
	for _, test := range []struct {
		name   string
		change func(name string, size int64)
		want   []string
		silent bool // sgdisk has nothing to say: it knows nothing of Skerry, or is content with less
	}{
		{"nothing", func(string, int64) {}, nil, true},
		{"primary header", func(name string, _ int64) { flip(t, name, sectorBytes+60) },
			[]string{"The primary table at sector 1 is not valid: its header has the checksum"}, false},
		{"primary entries", func(name string, _ int64) { flip(t, name, 2*sectorBytes+60) },
			[]string{"The primary table at sector 1 is not valid: its entries have the checksum"}, false},
		{"backup header", func(name string, size int64) { flip(t, name, size-sectorBytes+60) },
			[]string{"The backup table at sector 20479, the last of the disk, is not valid: its header"}, false},
		{"backup header is gone", func(name string, size int64) { patch(t, name, size-sectorBytes, make([]byte, sectorBytes)) },
			[]string{"the last of the disk, is not valid: there is no signature EFI PART"}, false},
		{"both are gone", func(name string, size int64) {
			patch(t, name, sectorBytes, make([]byte, sectorBytes))
			patch(t, name, size-sectorBytes, make([]byte, sectorBytes))
		}, []string{"The primary table at sector 1 is not valid", "The backup table at sector 20479"}, true},
		{"copies disagree", func(name string, size int64) {
			edit(t, name, size, func(entries []byte) { entries[56] ^= 1 })
			h := peek(t, name, sectorBytes, sectorBytes)
			entries := peek(t, name, 2*sectorBytes, maxEntries*entryBytes)
			entries[56] ^= 1
			patch(t, name, 2*sectorBytes, entries)
			le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
			seal(h)
			patch(t, name, sectorBytes, h)
		}, []string{"Primary and backup table disagree about the partitions"}, false},
		{"overlap", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { copy(e[third+32:third+40], e[second+32:]) })
		}, []string{`partition 3 ("slot-b"): It overlaps partition 2 ("slot-a")`}, false},
		{"beyond the disk", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { le.PutUint64(e[third+40:], 1<<40) })
		}, []string{`partition 3 ("slot-b"): It is at sectors`, "There is no partition 3, slot-b"}, false},
		{"ends before it begins", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { le.PutUint64(e[third+40:], 1) })
		}, []string{`partition 3 ("slot-b"): It is at sectors`, "There is no partition 3, slot-b"}, false},
		{"in the table", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { le.PutUint64(e[32:], 10) })
		}, []string{"outside of the usable ones", "not a multiple of 1 MiB"}, false},
		{"not aligned", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { le.PutUint64(e[third+32:], le.Uint64(e[third+32:])+1) })
		}, []string{"not a multiple of 1 MiB"}, true},
		{"one identifier twice", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { copy(e[third+16:third+32], e[second+16:]) })
		}, []string{"It has the identifier of partition 2"}, true},
		{"another name", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { e[third+56] = 'x' })
		}, []string{`Partition 3 is called "xlot-b" and not slot-b`}, true},
		{"another type", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { copy(e[:16], e[second:]) })
		}, []string{"boot: The partition has type " + disk.LinuxData}, true},
		{"missing", func(name string, size int64) {
			edit(t, name, size, func(e []byte) { clear(e[third : third+entryBytes]) })
		}, []string{"There is no partition 3, slot-b"}, true},
		{"MBR without signature", func(name string, _ int64) { patch(t, name, 510, []byte{0, 0}) },
			[]string{"protective MBR: Sector 0 has no boot signature"}, true},
		{"MBR with another partition", func(name string, _ int64) { patch(t, name, 446+16+4, []byte{0x83, 0, 0, 0, 1, 0, 0, 0, 1}) },
			[]string{"protective MBR: Entry 2 has type 0x83"}, false},
		{"no protection", func(name string, _ int64) { patch(t, name, 446+4, []byte{0}) },
			[]string{"protective MBR: It has 0 entries of type 0xEE"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			name, size := tableImage(t)
			test.change(name, size)
			compare(t, checkTableOf(t, name, size), test.want)
			out, err := exec.Command("/usr/sbin/sgdisk", "-v", name).CombinedOutput()
			if strings.Contains(string(out), "Problem opening") || err != nil && len(out) == 0 {
				t.Fatalf("sgdisk (run `make deps`): %v: %s", err, out)
			}
			said := strings.ToLower(string(out))
			content := strings.Contains(said, "no problems found") && !strings.Contains(said, "caution") && !strings.Contains(said, "warning")
			if content != test.silent {
				t.Errorf("sgdisk is content: %v\n%s", content, out)
			}
		})
	}
}

func TestSgdiskReadsTheSameTable(t *testing.T) {
	name, size := tableImage(t)
	r := checkTableOf(t, name, size)
	out, err := exec.Command("/usr/sbin/sgdisk", "-p", "-i", "2", name).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk (run `make deps`): %v: %s", err, out)
	}
	for _, want := range []string{r.DiskID, r.Partitions[1].Type, r.Partitions[1].ID, "First sector: 10240", "Partition name: 'slot-a'"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, out)
		}
	}
}

func FuzzCheckTable(f *testing.F) {
	name, size := tableImage(f)
	first := peek(f, name, 0, 34*sectorBytes)
	last := peek(f, name, size-33*sectorBytes, 33*sectorBytes)
	f.Add(first, last)
	f.Fuzz(func(t *testing.T, first, last []byte) {
		size := int64(2 * alignment)
		b := make([]byte, size)
		copy(b, first[:min(len(first), len(b))])
		copy(b[max(0, len(b)-len(last)):], last[:min(len(last), len(b))])
		// Fuzzing will not find a checksum by itself.
		for _, at := range []int{sectorBytes, len(b) - sectorBytes} {
			entries := int64(binary.LittleEndian.Uint64(b[at+72:]))
			if entries >= 0 && entries < size/sectorBytes-32 {
				binary.LittleEndian.PutUint32(b[at+88:], crc32.ChecksumIEEE(b[entries*sectorBytes:][:maxEntries*entryBytes]))
			}
			seal(b[at:])
		}
		r := &Report{Size: size}
		r.checkTable(bytes.NewReader(b))
		for _, p := range r.Partitions {
			if p.Offset < 0 || p.Size <= 0 || p.Offset+p.Size > size {
				t.Errorf("partition %+v is not on the disk", p)
			}
		}
	})
}
