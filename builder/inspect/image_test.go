package inspect

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/disk"
	mkerofs "github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/initramfs"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/builder/uki"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/kmod"
	"github.com/skerry-os/skerry/kmod/kmodtest"
	"github.com/skerry-os/skerry/loaderconf"
	"github.com/skerry-os/skerry/verity"
)

const (
	testKernel  = "6.12.1-test"
	testVersion = "1.2.0"
	testEntry   = "skerry-1.2.0.efi"
)

var (
	testSeed = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
	testTime = time.Date(2025, 3, 1, 12, 30, 42, 0, time.UTC)
)

// parts are what a small image is made of. Tests change one before it is made.
type parts struct {
	t       testing.TB
	goarch  string
	root    *tree.Tree
	initram *tree.Tree
	boot    *tree.Tree // but for the kernel image
	entry   string
	uname   string
	kernel  []byte
	stub    []byte
	osrel   string
	pack    mkerofs.Compression
	arg     string             // of the command line, skerry.slot=… if empty
	erofs   func(image string) // changes the root file system before it is hashed
}

// newParts returns the parts of an image without findings.
func newParts(t testing.TB, goarch string) *parts {
	t.Helper()
	board, machine, loader := "x86_64", uki.X8664, "EFI/BOOT/BOOTX64.EFI"
	if goarch == "arm64" {
		board, machine, loader = "arm64", uki.ARM64, "EFI/BOOT/BOOTAA64.EFI"
	}
	p := &parts{t: t, goarch: goarch, pack: mkerofs.LZ4, root: tree.New(), initram: tree.New(), boot: tree.New(),
		entry: testEntry, uname: testKernel, stub: efi(machine, nil), kernel: kernelImage(machine, testKernel),
		osrel: fmt.Sprintf("ID=\"skerry\"\nVERSION_ID=%q\nVARIANT_ID=%q\n", testVersion, board)}
	program := staticProgram(t, goarch)

	for _, name := range neededFolders {
		p.ok(p.root.AddDir(name, 0o755))
	}
	p.ok(p.root.AddDir("usr/bin", 0o755))
	for _, link := range [][2]string{{"bin", "usr/bin"}, {"sbin", "usr/sbin"}, {"lib", "usr/lib"},
		{"usr/sbin/mount", "init"}, {"etc/os-release", "../usr/lib/os-release"}, {"etc/resolv.conf", "/run/skerry/resolv.conf"}} {
		p.ok(p.root.AddSymlink(link[0], link[1]))
	}
	for _, name := range []string{"usr/sbin/init", "usr/sbin/mke2fs", "usr/sbin/e2fsck"} {
		p.ok(p.root.AddBytes(name, 0o755, program))
	}
	p.ok(p.root.AddBytes("usr/lib/os-release", 0o644, []byte(p.osrel)))
	p.ok(p.root.AddBytes("usr/lib/firmware/other.bin", 0o644, staticProgram(t, other(goarch))))
	addModules(t, p.root, testKernel, testKernel, goarch)

	p.ok(p.initram.AddDir("dev", 0o755))
	p.ok(p.initram.AddSymlink("lib", "usr/lib"))
	p.ok(p.initram.AddBytes("init", 0o755, program))
	addModules(t, p.initram, testKernel, testKernel, goarch)

	conf, err := loaderconf.New(testEntry, "timeout 0")
	p.ok(err)
	p.ok(p.boot.AddBytes(loaderConf, 0o644, conf))
	p.ok(p.boot.AddBytes(loader, 0o644, efi(machine, nil)))
	p.ok(p.boot.AddBytes("skerry.yaml", 0o644, []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n")))
	return p
}

func other(goarch string) string {
	if goarch == "amd64" {
		return "arm64"
	}
	return "amd64"
}

func (p *parts) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// without returns a tree without what is at or below name.
func without(t testing.TB, from *tree.Tree, name string) *tree.Tree {
	t.Helper()
	to := tree.New()
	for _, p := range from.Paths() {
		if f, _ := from.Get(p); p != name && !strings.HasPrefix(p, name+"/") {
			if err := to.Add(p, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// image makes the disk image.
func (p *parts) image() string {
	p.t.Helper()
	ctx := context.Background()
	dir := p.t.TempDir()
	slotPath := filepath.Join(dir, "slot")
	size, err := mkerofs.Make(ctx, mkerofs.Options{Tree: p.root, Output: slotPath, UUID: testSeed,
		Time: time.Unix(0, 0), Compression: p.pack, WorkDir: dir})
	p.ok(err)
	if p.erofs != nil {
		p.erofs(slotPath)
	}
	slot, err := os.OpenFile(slotPath, os.O_RDWR, 0)
	p.ok(err)
	defer slot.Close()
	params, err := verity.Append(ctx, slot, 0, size, []byte("salt"))
	p.ok(err)

	var packed bytes.Buffer
	p.ok(initramfs.Make(ctx, p.initram, &packed))
	argument := p.arg
	if argument == "" {
		argument = verity.Parameter + "=" + params.String()
	}
	var kernel bytes.Buffer
	p.ok(uki.Make(&kernel, uki.Options{
		Stub: p.stub, Kernel: section(p.kernel), Initramfs: section(packed.Bytes()),
		CommandLine: "console=ttyS0 gpt " + argument, OSRelease: []byte(p.osrel), Uname: p.uname,
	}))
	p.ok(p.boot.AddBytes(path.Join(entryFolder, p.entry), 0o644, kernel.Bytes()))

	name := filepath.Join(dir, "skerry-1.2.0-test.img")
	image, err := disk.Create(name, disk.Layout{Seed: testSeed, Partitions: []disk.Spec{
		{Name: disk.Boot, Type: disk.EFISystem, Size: 34 << 20},
		{Name: disk.SlotA, Type: disk.LinuxData, Size: 16 << 20},
		{Name: disk.SlotB, Type: disk.LinuxData, Size: 16 << 20},
	}})
	p.ok(err)
	defer image.Close()
	p.ok(image.MakeBoot(ctx, p.boot, fat.Options{Label: "SKERRY-BOOT", VolumeID: 1, Time: testTime}))
	p.ok(image.Fill(ctx, disk.SlotA, slot))
	return name
}

// slotAAt is the byte offset of slot A in test images.
const slotAAt = 35 << 20

// report inspects an image that can be.
func report(t testing.TB, image string) *Report {
	t.Helper()
	r, err := Inspect(context.Background(), image, Options{WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// findings returns all findings, one a line.
func findings(r *Report) string {
	var lines strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&lines, f)
	}
	return lines.String()
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// patch overwrites bytes of a file.
func patch(t testing.TB, file string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// peek reads bytes of a file.
func peek(t testing.TB, file string, at int64, n int) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

// flip inverts one bit of a file.
func flip(t testing.TB, file string, at int64) {
	t.Helper()
	b := peek(t, file, at, 1)
	patch(t, file, at, []byte{b[0] ^ 0x10})
}

// efi builds a PE32+ image with one section that has these contents, and room
// for the sections of a kernel image.
func efi(m uki.Machine, contents []byte) []byte {
	const start, optional, headers = 64, 240, 1024
	table := start + 24 + optional
	raw := (len(contents) + 511) &^ 511
	b := make([]byte, headers+max(raw, 512))
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[0x3c:], start)
	copy(b[start:], "PE\x00\x00")
	le.PutUint16(b[start+4:], uint16(m))
	le.PutUint16(b[start+6:], 1)
	le.PutUint16(b[start+20:], optional)
	o := b[start+24:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[32:], 4096)
	le.PutUint32(o[36:], 512)
	le.PutUint32(o[56:], 1<<20)
	le.PutUint32(o[60:], headers)
	le.PutUint32(o[108:], 16)
	s := b[table:]
	copy(s, ".text")
	le.PutUint32(s[8:], uint32(max(raw, 512)))
	le.PutUint32(s[12:], 4096)
	le.PutUint32(s[16:], uint32(max(raw, 512)))
	le.PutUint32(s[20:], headers)
	copy(b[headers:], contents)
	return b
}

// kernelImage says which release it is the way kernels of its machine do.
func kernelImage(m uki.Machine, release string) []byte {
	version := release + " (debian-kernel@lists.debian.org) #1 SMP\x00"
	if m == uki.ARM64 {
		// Across the border between two windows of the search.
		return efi(m, append(make([]byte, 1<<20-1024-20), banner+version...))
	}
	b := efi(m, []byte(version))
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 1024-0x200)
	return b
}

var programs sync.Map // of staticProgram, by architecture

// staticProgram compiles a program that does nothing.
func staticProgram(t testing.TB, goarch string) []byte {
	t.Helper()
	compile, _ := programs.LoadOrStore(goarch, sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "skerry-inspect-test-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
			return nil, err
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "program", "main.go")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOARCH="+goarch, "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=", "GO111MODULE=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build: %w: %s", err, out)
		}
		return os.ReadFile(filepath.Join(dir, "program"))
	}))
	program, err := compile.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// addModules adds two modules, one of which needs the other, and their index.
func addModules(t testing.TB, to *tree.Tree, folder, vermagic, goarch string) {
	t.Helper()
	var files []kmod.File
	add := func(name string, contents []byte) {
		if err := to.AddBytes(path.Join(moduleFolder, folder, name), 0o644, contents); err != nil {
			t.Fatal(err)
		}
	}
	made := modules(t, vermagic)
	for _, name := range slices.Sorted(maps.Keys(made)) {
		module := bytes.Clone(made[name])
		machine := uint16(62) // EM_X86_64
		if goarch == "arm64" {
			machine = 183 // EM_AARCH64
		}
		binary.LittleEndian.PutUint16(module[18:], machine)
		info, err := kmod.ReadInfo(bytes.NewReader(module))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, kmod.File{Path: name, Info: info})
		add(name, module)
	}
	dep, err := kmod.Dep(files)
	if err != nil {
		t.Fatal(err)
	}
	add("modules.dep", dep)
	add("modules.alias", kmod.Alias(files))
	add("modules.softdep", kmod.Softdeps(files))
	add("modules.builtin", nil)
}

var compiled sync.Map // of modules, by vermagic

// modules compiles the modules for this machine.
func modules(t testing.TB, vermagic string) map[string][]byte {
	t.Helper()
	if made, ok := compiled.Load(vermagic); ok {
		return made.(map[string][]byte)
	}
	dir := t.TempDir()
	magic := "vermagic=" + vermagic + " SMP preempt mod_unload "
	kmodtest.Write(t, dir, []kmodtest.Module{
		{Path: "kernel/fs/first.ko", Info: []string{magic, "alias=fs-first"}},
		{Path: "kernel/fs/second.ko", Depends: []string{"first"}, Info: []string{magic}},
	})
	made := map[string][]byte{}
	for _, name := range []string{"kernel/fs/first.ko", "kernel/fs/second.ko"} {
		module, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		made[name] = module
	}
	compiled.Store(vermagic, made)
	return made
}
