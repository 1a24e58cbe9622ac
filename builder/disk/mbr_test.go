package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/tests/oracle"
)

func mbrLayout() Layout {
	l := layout(64)
	l.MBR, l.Start = true, 20<<20
	return l
}

func mbrImage(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	i, err := Create(path, mbrLayout())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := i.MakeBoot(context.Background(), sample(t), testOptions); err != nil {
		t.Fatal(err)
	}
	if err := i.WriteRaw([]byte("blob"), 32<<10); err != nil {
		t.Fatal(err)
	}
	return path
}

// sfdisk is what sfdisk(8) says of a table.
type sfdiskTable struct {
	Table struct {
		Label, ID  string
		Partitions []struct {
			Start, Size int64
			Type        string
			Bootable    bool
		} `json:"partitions"`
	} `json:"partitiontable"`
}

func TestSfdiskSeesTheSameMBR(t *testing.T) {
	path := mbrImage(t)
	if out := oracle.Must(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	var seen sfdiskTable
	if err := json.Unmarshal([]byte(oracle.Must(t, "sfdisk", "--json", path)), &seen); err != nil {
		t.Fatal(err)
	}
	i, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if seen.Table.Label != "dos" || !strings.EqualFold(seen.Table.ID, "0x"+i.ID()) || i.ID() == "00000000" {
		t.Errorf("sfdisk sees %s with identifier %s, Open %s", seen.Table.Label, seen.Table.ID, i.ID())
	}
	if len(seen.Table.Partitions) != 3 || len(i.Partitions()) != 3 {
		t.Fatalf("%+v, %+v", seen, i.Partitions())
	}
	offset := int64(20 << 20)
	for n, p := range i.Partitions() {
		s, want := seen.Table.Partitions[n], mbrLayout().Partitions[n]
		if p.Offset != offset || p.Size != want.Size || p.Name != want.Name || p.ID != fmt.Sprintf("%s-%02X", i.ID(), n+1) {
			t.Errorf("partition is %+v, want %+v at %d", p, want, offset)
		}
		if s.Start*512 != p.Offset || s.Size*512 != p.Size || s.Bootable != (n == 0) || !strings.EqualFold("0x0"+s.Type, p.Type) && !strings.EqualFold("0x"+s.Type, p.Type) {
			t.Errorf("sfdisk sees %+v, Open %+v", s, p)
		}
		offset += p.Size
	}
	if i.Size() != offset {
		t.Errorf("the image has %d bytes, its last partition ends at %d", i.Size(), offset)
	}
	fsck(t, path)
}

func TestFilesOfBootAreWrittenAndReadOnAnMBR(t *testing.T) {
	path := mbrImage(t)
	if err := WriteBootFile(path, "skerry.yaml", []byte("hostname: b\n"), testTime); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadBootFile(f, mustSize(t, f), "skerry.yaml")
	if err != nil || string(got) != "hostname: b\n" {
		t.Errorf("%q, %v", got, err)
	}
	fsck(t, path)
}

func mustSize(t *testing.T, f *os.File) int64 {
	t.Helper()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func TestSameMBRImageTwice(t *testing.T) {
	a, err := os.ReadFile(mbrImage(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(mbrImage(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two images of one layout differ")
	}
}

func TestMBRRefusesWhatItHasNoPlaceFor(t *testing.T) {
	for want, change := range map[string]func(*Layout){
		"an MBR has room for 4": func(l *Layout) {
			l.Partitions = append(l.Partitions, Spec{Data, LinuxData, 1 << 20}, Spec{"more", LinuxData, 1 << 20})
		},
		"up to 2199023255552": func(l *Layout) { l.Partitions[2].Size = 1 << 41 },
		"it has to be slot-a": func(l *Layout) { l.Partitions[1].Name = "other" },
		"of a type that MBRs": func(l *Layout) { l.Partitions[1].Type = testSeed.String() },
		"starts at byte":      func(l *Layout) { l.Start = 20<<20 + 512 },
	} {
		l := mbrLayout()
		change(&l)
		if _, err := Create(filepath.Join(t.TempDir(), "x"), l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestRawBytesStayBetweenTableAndPartitions(t *testing.T) {
	i, err := Create(filepath.Join(t.TempDir(), "x"), mbrLayout())
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for _, at := range []int64{0, 511, 20<<20 - 3, 20 << 20, -1} {
		if err := i.WriteRaw([]byte("blob"), at); err == nil {
			t.Errorf("four bytes at %d were written", at)
		}
	}
	for _, at := range []int64{512, 20<<20 - 4} {
		if err := i.WriteRaw([]byte("blob"), at); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesBrokenMBRs(t *testing.T) {
	for want, spoil := range map[string]func(f *os.File){
		"is the file complete?":   func(f *os.File) { f.Truncate(100 << 20) },
		"partition table":         func(f *os.File) { f.WriteAt([]byte{0}, 510) },
		"at sectors 0 to":         func(f *os.File) { f.WriteAt(make([]byte, 4), 446+8) },
		"error reading partition": func(f *os.File) { f.WriteAt([]byte{7}, 446) },
		"primary GPT invalid":     func(f *os.File) { f.WriteAt(make([]byte, 64), 446) }, // no entries: looked at as a GPT
	} {
		path := mbrImage(t)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		spoil(f)
		f.Close()
		if i, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
			if err == nil {
				i.Close()
			}
		}
	}
}
