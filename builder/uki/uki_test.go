package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// efi builds a PE32+ image with one section of text, room for `room` more
// sections in its headers and the given memory size.
func efi(m Machine, room int, sizeOfImage uint32) []byte {
	const start, optional = 64, 240
	table := start + coffBytes + optional
	headers := (table + (1+room)*sectionBytes + 511) &^ 511
	// A header of exactly the wanted room, so that "one too many" can be tested.
	limit := table + (1+room)*sectionBytes
	b := make([]byte, headers+512)
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[0x3c:], start)
	copy(b[start:], "PE\x00\x00")
	le.PutUint16(b[start+4:], uint16(m))
	le.PutUint16(b[start+6:], 1)
	le.PutUint32(b[start+8:], 0x12345678) // timestamp
	le.PutUint16(b[start+20:], optional)
	le.PutUint16(b[start+22:], 0x22e)
	o := b[start+coffBytes:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[optSectionAlignment:], 4096)
	le.PutUint32(o[optFileAlignment:], 512)
	le.PutUint32(o[optSizeOfImage:], sizeOfImage)
	le.PutUint32(o[optSizeOfHeaders:], uint32(limit))
	le.PutUint32(o[optCheckSum:], 0xdeadbeef)
	le.PutUint16(o[68:], 10) // subsystem: EFI application
	le.PutUint32(o[optNumberOfDirectories:], 16)
	text := section{Name: [8]byte{'.', 't', 'e', 'x', 't'}, VirtualSize: 300, VirtualAddress: 4096,
		RawSize: 512, RawOffset: uint32(headers), Characteristics: 0x60000020}
	if _, err := binary.Encode(b[table:], le, text); err != nil {
		panic(err)
	}
	copy(b[headers:], "code")
	return b
}

func reader(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func options() Options {
	return Options{
		Stub:        efi(X8664, 6, 8192),
		Kernel:      reader(append(efi(X8664, 0, 3<<20), bytes.Repeat([]byte("kernel "), 1000)...)),
		Initramfs:   reader(bytes.Repeat([]byte{0xa5}, 4097)),
		CommandLine: "console=ttyS0 gpt",
		OSRelease:   []byte("ID=skerry\nVERSION_ID=1\n"),
		Uname:       "6.12.0-amd64",
		Splash:      []byte("BM"),
	}
}

func image(t *testing.T, o Options) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Make(&out, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSectionsAreWhereThePEFormatWantsThem(t *testing.T) {
	o := options()
	b := image(t, o)
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	memory, file := uint32(0), uint32(0)
	for _, s := range f.Sections {
		names = append(names, s.Name)
		if s.VirtualAddress%4096 != 0 || s.Offset%512 != 0 || s.Size%512 != 0 {
			t.Errorf("%s is not aligned: %+v", s.Name, s.SectionHeader)
		}
		if s.VirtualAddress < memory || s.Offset < file {
			t.Errorf("%s overlaps the section before it: %+v", s.Name, s.SectionHeader)
		}
		memory, file = s.VirtualAddress+s.VirtualSize, s.Offset+s.Size
	}
	if got, want := strings.Join(names, " "), ".text .osrel .cmdline .uname .splash .initrd .linux"; got != want {
		t.Errorf("sections are %s, want %s", got, want)
	}
	if int(file) != len(b) {
		t.Errorf("the last section ends at %d, the file at %d", file, len(b))
	}
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	if want := (memory + 4095) &^ 4095; opt.SizeOfImage != want {
		t.Errorf("SizeOfImage is %d, want %d", opt.SizeOfImage, want)
	}
	if opt.CheckSum != 0 {
		t.Errorf("the stub's checksum %#x is still there", opt.CheckSum)
	}
	if f.TimeDateStamp != 0x12345678 {
		t.Errorf("the stub's timestamp became %#x", f.TimeDateStamp)
	}
	linux := f.Section(".linux")
	if linux.VirtualSize != 3<<20 {
		t.Errorf(".linux takes %d bytes of memory, its kernel's SizeOfImage is %d", linux.VirtualSize, 3<<20)
	}
}

func TestObjdumpReadsTheImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(name, image(t, options()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-h", name).CombinedOutput()
	if err != nil {
		t.Fatalf("objdump: %v: %s (run `make deps`)", err, out)
	}
	for _, want := range []string{".osrel", ".cmdline", ".uname", ".splash", ".initrd", ".linux"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("objdump does not list %s:\n%s", want, out)
		}
	}
}

func TestOpenReturnsWhatMakeWasGiven(t *testing.T) {
	o := options()
	b := image(t, o)
	i, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if i.Machine != X8664 {
		t.Errorf("machine is %v", i.Machine)
	}
	for name, want := range map[string]string{
		".cmdline": o.CommandLine, ".osrel": string(o.OSRelease), ".uname": o.Uname, ".splash": "BM",
	} {
		if got, err := i.Text(name); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]*io.SectionReader{".initrd": o.Initramfs, ".linux": o.Kernel} {
		s, err := i.Section(name)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(s.Reader())
		in, _ := io.ReadAll(io.NewSectionReader(want, 0, want.Size()))
		if name == ".linux" {
			if !s.Padded || len(bytes.Trim(got[len(in):], "\x00")) != 0 || len(got)-len(in) > 511 {
				t.Errorf("%s: padded %v, %d bytes for %d", name, s.Padded, len(got), len(in))
			}
			got = got[:len(in)]
		}
		if !bytes.Equal(got, in) {
			t.Errorf("%s differs from what was put in", name)
		}
	}
	if _, err := i.Section(".dtb"); err == nil {
		t.Error("a section nobody added was found")
	}
}

func TestSameInputsSameBytes(t *testing.T) {
	if !bytes.Equal(image(t, options()), image(t, options())) {
		t.Error("two images of the same inputs differ")
	}
}

func TestSectionSizesAtTheFileAlignment(t *testing.T) {
	for _, n := range []int{1, 511, 512, 513, 4095, 4096, 4097} {
		o := options()
		want := bytes.Repeat([]byte{7}, n)
		o.Initramfs = reader(want)
		b := image(t, o)
		f, err := pe.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		s := f.Section(".initrd")
		got, err := s.Data()
		if err != nil || int(s.VirtualSize) != n || !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes came back as %d, memory %d: %v", n, len(got), s.VirtualSize, err)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	signed := efi(X8664, 6, 8192)
	binary.LittleEndian.PutUint32(signed[64+coffBytes+optDirectories+securityDirectory*8:], 4096)
	for want, change := range map[string]func(*Options){
		"stub is for arm64, the kernel for x86_64": func(o *Options) { o.Stub = efi(ARM64, 6, 8192) },
		"compressed with gzip":                     func(o *Options) { o.Kernel = reader(append([]byte{0x1f, 0x8b}, make([]byte, 100)...)) },
		"first bytes are not MZ":                   func(o *Options) { o.Kernel = reader(make([]byte, 100)) },
		"kernel: read PE header":                   func(o *Options) { o.Kernel = reader([]byte("MZ")) },
		"room up to byte":                          func(o *Options) { o.Stub = efi(X8664, 5, 8192) },
		"it is signed":                             func(o *Options) { o.Stub = signed },
		"a section .osrel already":                 func(o *Options) { o.Stub = image(t, *o) },
		"command line has 2048 bytes":              func(o *Options) { o.CommandLine = strings.Repeat("a", 2048) },
		"command line has 0 bytes":                 func(o *Options) { o.CommandLine = "" },
		"command line has byte 0xc3 at 1":          func(o *Options) { o.CommandLine = "aä" },
		"command line has byte 0x0a at 3":          func(o *Options) { o.CommandLine = "gpt\n" },
		"os-release is empty":                      func(o *Options) { o.OSRelease = nil },
		".initrd would be empty":                   func(o *Options) { o.Initramfs = reader(nil) },
		"kernel and initramfs are needed":          func(o *Options) { o.Kernel = nil },
	} {
		o := options()
		change(&o)
		if err := Make(io.Discard, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
	o := options()
	o.CommandLine = strings.Repeat("a", 2047)
	if err := Make(io.Discard, o); err != nil {
		t.Errorf("the longest command line is refused: %v", err)
	}
}

func TestOpenFindsTruncation(t *testing.T) {
	b := image(t, options())
	if _, err := Open(bytes.NewReader(b[:len(b)-1]), int64(len(b)-1)); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("error is %v", err)
	}
	for n := 0; n < 600; n++ {
		if _, err := Open(bytes.NewReader(b[:n]), int64(n)); err == nil {
			t.Fatalf("%d bytes pass as an image", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	var out bytes.Buffer
	if err := Make(&out, options()); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add(efi(ARM64, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, s := range i.Sections {
			if n, err := io.Copy(io.Discard, s.Reader()); err != nil || (s.Size > 0 && n != s.Size) {
				t.Errorf("section %q: %d of %d bytes, %v", s.Name, n, s.Size, err)
			}
			_, _ = i.Text(s.Name)
			_ = fmt.Sprint(i.Machine)
		}
	})
}
