package kmod_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/skerry-os/skerry/kmod"
	"github.com/skerry-os/skerry/kmod/kmodtest"
)

func TestReadInfoAgreesWithModinfo(t *testing.T) {
	dir := t.TempDir()
	kmodtest.Write(t, dir, []kmodtest.Module{{
		Path:    "kernel/drivers/my-disk.ko",
		Depends: []string{"bus-core", "scsi_mod"},
		Info: []string{
			"alias=pci:v00001AF4d*sv*", "alias=my disk", "softdep=pre: a b post: c", "weakdep=w1 w2",
			"firmware=my/disk.bin", "firmware=my/disk2.bin", "vermagic=6.12 SMP", "intree=Y",
			"parmtype=depth:uint", "parm=depth:how deep",
		},
	}})
	file := filepath.Join(dir, "kernel/drivers/my-disk.ko")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := kmod.ReadInfo(f)
	if err != nil {
		t.Fatal(err)
	}
	modinfo := func(field string) string {
		out, err := exec.Command("modinfo", "-F", field, file).Output()
		if err != nil {
			t.Fatalf("modinfo (package kmod): %v", err)
		}
		return strings.TrimRight(string(out), "\n")
	}
	for field, got := range map[string]string{
		"name":     info.Name,
		"depends":  strings.ReplaceAll(strings.Join(info.Depends, ","), "bus_core", "bus-core"),
		"alias":    strings.Join(info.Aliases, "\n"),
		"softdep":  strings.Join(info.Softdeps, "\n"),
		"weakdep":  strings.Join(info.Weakdeps, " "),
		"firmware": strings.Join(info.Firmware, "\n"),
		"license":  info.License,
		"vermagic": info.Vermagic,
		"parmtype": strings.Join(info.Params, " ") + ":uint",
	} {
		if want := modinfo(field); got != want {
			t.Errorf("%s is %q, modinfo says %q", field, got, want)
		}
	}
	if !info.Intree {
		t.Error("intree=Y was not seen")
	}
}

func TestReadInfoRefusesWhatIsNoModule(t *testing.T) {
	for name, contents := range map[string][]byte{
		"empty":         nil,
		"text":          []byte(strings.Repeat("not an ELF file ", 10)),
		"no section":    elf(64, binary.LittleEndian, ".other", []byte("name=x\x00")),
		"no name":       elf(64, binary.LittleEndian, ".modinfo", []byte("license=GPL\x00")),
		"too large":     elf(64, binary.LittleEndian, ".modinfo", append([]byte("name=x\x00"), make([]byte, 1<<20)...)),
		"cut off":       elf(64, binary.LittleEndian, ".modinfo", []byte("name=x\x00"))[:100],
		"headers gone":  elf(64, binary.LittleEndian, ".modinfo", []byte("name=x\x00"))[:64],
		"unknown class": slices.Replace(elf(64, binary.LittleEndian, ".modinfo", []byte("name=x\x00")), 4, 5, 3),
	} {
		if info, err := kmod.ReadInfo(bytes.NewReader(contents)); err == nil {
			t.Errorf("%s: no error, got %+v", name, info)
		}
	}
}

func TestReadInfoReadsEveryWidthAndByteOrder(t *testing.T) {
	want := kmod.Info{Name: "my_disk", License: "GPL"}
	for _, bits := range []int{32, 64} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			object := elf(bits, order, ".modinfo", []byte("name=my-disk\x00\x00\x00license=GPL\x00"))
			info, err := kmod.ReadInfo(bytes.NewReader(object))
			if err != nil {
				t.Fatalf("%d bit, %v: %v", bits, order, err)
			}
			if diff := cmp.Diff(want, info); diff != "" {
				t.Errorf("%d bit, %v: %s", bits, order, diff)
			}
		}
	}
}

func TestBuiltinInfoGroupsByModule(t *testing.T) {
	got := kmod.BuiltinInfo("ext-two.alias=fs-ext2\x00loop.license=GPL\x00ext-two.alias=fs-ext\x00loop.firmware=a.bin\x00junk\x00")
	want := []kmod.Info{
		{Name: "ext_two", Aliases: []string{"fs-ext2", "fs-ext"}},
		{Name: "loop", License: "GPL", Firmware: []string{"a.bin"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseSoftdepIgnoresWordsBeforeALabel(t *testing.T) {
	want := kmod.Softdep{Pre: []string{"a", "b"}, Post: []string{"c"}}
	if diff := cmp.Diff(want, kmod.ParseSoftdep("gcm pre: a  b post: c")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(kmod.Softdep{}, kmod.ParseSoftdep("gcm")); diff != "" {
		t.Error(diff)
	}
}

func TestNameOf(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/a/virtio-blk.ko":     "virtio_blk",
		"kernel/a/virtio-blk.ko.xz":  "virtio_blk",
		"kernel/a/virtio-blk.ko.zst": "virtio_blk",
		"virtio_blk.ko.gz":           "virtio_blk",
		"modules.order":              "",
		"kernel/a/.ko":               "",
	} {
		if got := kmod.NameOf(file); got != want {
			t.Errorf("NameOf(%s) = %q, want %q", file, got, want)
		}
	}
}

func FuzzReadInfo(f *testing.F) {
	for _, bits := range []int{32, 64} {
		f.Add(elf(bits, binary.LittleEndian, ".modinfo", []byte("name=x\x00depends=a,b\x00")))
		f.Add(elf(bits, binary.BigEndian, ".modinfo", []byte("name=x\x00softdep=pre: a\x00")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := kmod.ReadInfo(bytes.NewReader(b))
		if err == nil && info.Name == "" {
			t.Error("a module without name")
		}
	})
}

// elf returns an object with a null section, one section and the section names.
func elf(bits int, order binary.ByteOrder, name string, contents []byte) []byte {
	header, entry, class := 52, 40, byte(1)
	if bits == 64 {
		header, entry, class = 64, 64, 2
	}
	data := byte(1)
	if order == binary.BigEndian {
		data = 2
	}
	names := "\x00" + name + "\x00"
	b := make([]byte, header+3*entry)
	copy(b, "\x7fELF")
	b[4], b[5], b[6] = class, data, 1
	put := func(at, width int, v int) {
		switch width {
		case 2:
			order.PutUint16(b[at:], uint16(v))
		case 4:
			order.PutUint32(b[at:], uint32(v))
		case 8:
			order.PutUint64(b[at:], uint64(v))
		}
	}
	section := func(i, nameAt, offset, size int) {
		at := header + i*entry
		put(at, 4, nameAt)
		if bits == 64 {
			put(at+24, 8, offset)
			put(at+32, 8, size)
		} else {
			put(at+16, 4, offset)
			put(at+20, 4, size)
		}
	}
	if bits == 64 {
		put(40, 8, header)
		put(58, 2, entry)
		put(60, 2, 3)
		put(62, 2, 2)
	} else {
		put(32, 4, header)
		put(46, 2, entry)
		put(48, 2, 3)
		put(50, 2, 2)
	}
	end := len(b)
	section(1, 1, end, len(contents))
	section(2, 0, end+len(contents), len(names))
	return append(append(b, contents...), names...)
}
