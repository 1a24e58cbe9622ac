package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/disk"
	mkerofs "github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/builder/uki"
	"github.com/skerry-os/skerry/loaderconf"
	"github.com/skerry-os/skerry/verity"
)

func TestGoodImagesHaveNoFindings(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		t.Run(goarch, func(t *testing.T) {
			p := newParts(t, goarch)
			if goarch == "amd64" {
				p.pack = mkerofs.LZ4HC // as releases are
			}
			r := report(t, p.image())
			if got := findings(r); got != "" {
				t.Errorf("a good image has findings:\n%s", got)
			}
			if r.Version != testVersion || r.Architecture != goarch || len(r.Releases) != 1 || len(r.Partitions) != 3 {
				t.Fatalf("report is %+v", r)
			}
			release := r.Releases[0]
			if !release.Default || release.Kernel != testKernel || release.Slot == nil {
				t.Fatalf("release is %+v", release)
			}
			if s := release.Slot; s.Partition != disk.SlotA || s.Modules != 2 || s.Files < 20 || s.FileBytes < 1<<20 {
				t.Errorf("slot is %+v", s)
			}
			if r.Partitions[0].Used == 0 || r.Partitions[1].Used != release.Slot.Size || r.Partitions[2].Used != 0 {
				t.Errorf("partitions are %+v", r.Partitions)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"slot-a", testKernel, testEntry, release.Slot.RootHash, "\nno findings\n"} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("the text lacks %q:\n%s", want, text.String())
				}
			}
			encoded, err := json.Marshal(r)
			if err != nil || !strings.Contains(string(encoded), `"findings":[]`) {
				t.Errorf("JSON is %s, %v", encoded, err)
			}
		})
	}
}

func TestInspectLeavesNothingBehind(t *testing.T) {
	image := newParts(t, "amd64").image()
	work := t.TempDir()
	if _, err := Inspect(context.Background(), image, Options{WorkDir: work}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Inspect(ctx, image, Options{WorkDir: work}); err == nil {
		t.Error("a cancelled inspection succeeded")
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestWrongPartsAreFound changes one part of a good image before it is made.
func TestWrongPartsAreFound(t *testing.T) {
	for _, test := range []struct {
		name   string
		goarch string
		change func(*parts)
		want   []string // every finding has one of these in it, and each is in one
	}{
		{"loader is missing", "amd64", func(p *parts) {
			p.boot = without(p.t, p.boot, "EFI/BOOT")
		}, []string{"boot: EFI/BOOT: There is none of BOOTX64.EFI, BOOTAA64.EFI"}},
		{"loader is for another machine", "amd64", func(p *parts) {
			p.ok(p.boot.AddBytes("EFI/BOOT/BOOTX64.EFI", 0o644, efi(uki.ARM64, nil)))
		}, []string{"BOOTX64.EFI: It is for arm64"}},
		{"loader is no program", "amd64", func(p *parts) {
			p.ok(p.boot.AddBytes("EFI/BOOT/BOOTX64.EFI", 0o644, []byte("#!/bin/sh")))
		}, []string{"BOOTX64.EFI: It is no EFI program"}},
		{"loader.conf is missing", "amd64", func(p *parts) {
			p.boot = without(p.t, p.boot, "loader")
		}, []string{"loader/loader.conf: It is missing"}},
		{"loader.conf has another layout", "amd64", func(p *parts) {
			p.ok(p.boot.AddBytes(loaderConf, 0o644, []byte("default "+testEntry+"\n")))
		}, []string{"loader/loader.conf: It cannot be used"}},
		{"default is not there", "amd64", func(p *parts) {
			conf, err := loaderconf.New("skerry-1.3.0.efi")
			p.ok(err)
			p.ok(p.boot.AddBytes(loaderConf, 0o644, conf))
		}, []string{`The default is "skerry-1.3.0.efi", which is not in EFI/Linux`}},
		{"node config is wrong", "amd64", func(p *parts) {
			p.ok(p.boot.AddBytes("skerry.yaml", 0o644, []byte("hostname: x\ncolour: red\n")))
		}, []string{"boot: skerry.yaml: A node will not accept it"}},
		{"kernel image has the name of another release", "amd64", func(p *parts) {
			p.entry = "skerry-1.3.0.efi"
			conf, err := loaderconf.New(p.entry)
			p.ok(err)
			p.ok(p.boot.AddBytes(loaderConf, 0o644, conf))
		}, []string{"It is release 1.2.0, whose file is called skerry-1.2.0.efi"}},
		{"kernel image has no .uname", "amd64", func(p *parts) {
			p.uname = ""
		}, []string{"Its section .uname cannot be read", `.uname says ""`, "It belongs to kernel 6.12.1-test, and the kernel image has ."}},
		{"kernel image for another machine than the loader", "amd64", func(p *parts) {
			p.boot = without(p.t, p.boot, "EFI/BOOT")
			p.ok(p.boot.AddBytes("EFI/BOOT/BOOTAA64.EFI", 0o644, efi(uki.ARM64, nil)))
		}, []string{"It is for amd64, the loader on this disk for arm64"}},
		{"kernel of another release", "amd64", func(p *parts) {
			p.kernel = kernelImage(uki.X8664, "6.1.0-old")
		}, []string{`.uname says "6.12.1-test", and its kernel is 6.1.0-old`}},
		{"kernel of another release", "arm64", func(p *parts) {
			p.kernel = kernelImage(uki.ARM64, "6.1.0-old")
		}, []string{`.uname says "6.12.1-test", and its kernel is 6.1.0-old`}},
		{"no slot on the command line", "amd64", func(p *parts) {
			p.arg = "quiet"
		}, []string{"Its command line does not say where the root is"}},
		{"slot of another release", "amd64", func(p *parts) {
			params := verity.Params{Blocks: 4, Tree: 4 * verity.BlockSize}
			p.arg = verity.Parameter + "=" + params.String()
		}, []string{"Neither slot-a nor slot-b has its hash tree"}},
		{"initramfs without init", "amd64", func(p *parts) {
			p.initram = without(p.t, p.initram, "init")
		}, []string{"initramfs: init: It is missing"}},
		{"init of the initramfs is for another machine", "arm64", func(p *parts) {
			p.ok(p.initram.AddBytes("init", 0o755, staticProgram(p.t, "amd64")))
		}, []string{"initramfs: init: It is for amd64, and the board is arm64"}},
		{"init of the initramfs is not executable", "amd64", func(p *parts) {
			p.ok(p.initram.AddBytes("init", 0o644, staticProgram(p.t, "amd64")))
		}, []string{"initramfs: init: It is not an executable file"}},
		{"initramfs lacks a module", "amd64", func(p *parts) {
			p.initram = without(p.t, p.initram, "usr/lib/modules/6.12.1-test/kernel/fs/first.ko")
		}, []string{"initramfs: usr/lib/modules/6.12.1-test/modules.dep: It names kernel/fs/first.ko, which is not there"}},
		{"program for another machine", "arm64", func(p *parts) {
			p.ok(p.root.AddBytes("usr/bin/tool", 0o755, staticProgram(p.t, "amd64")))
		}, []string{"slot-a: usr/bin/tool: It is for amd64, and the board is arm64"}},
		{"modules of another kernel", "amd64", func(p *parts) {
			p.root = without(p.t, p.root, moduleFolder)
			addModules(p.t, p.root, "6.1.0-old", "6.1.0-old", "amd64")
		}, []string{"usr/lib/modules/6.1.0-old: It belongs to kernel 6.1.0-old, and the kernel image has 6.12.1-test"}},
		{"modules of another kernel in the right folder", "amd64", func(p *parts) {
			addModules(p.t, p.root, testKernel, "6.12.10-test", "amd64")
		}, []string{`first.ko: It was built for kernel "6.12.10-test": kernel 6.12.1-test refuses it`, "second.ko: It was built for"}},
		{"modules of two kernels", "amd64", func(p *parts) {
			addModules(p.t, p.root, "6.1.0-old", "6.1.0-old", "amd64")
		}, []string{"There are modules of 2 kernels: 6.1.0-old, 6.12.1-test", "It belongs to kernel 6.1.0-old"}},
		{"no modules", "amd64", func(p *parts) {
			p.root = without(p.t, p.root, moduleFolder)
		}, []string{"slot-a: usr/lib/modules: There are no modules"}},
		{"module that is in no index", "amd64", func(p *parts) {
			f, _ := p.root.Get("usr/lib/modules/6.12.1-test/kernel/fs/first.ko")
			p.ok(p.root.Add("usr/lib/modules/6.12.1-test/kernel/third.ko", f))
		}, []string{"1 modules are not in it; the first is 6.12.1-test/kernel/third.ko"}},
		{"module is no module", "amd64", func(p *parts) {
			p.ok(p.root.AddBytes("usr/lib/modules/6.12.1-test/kernel/fs/first.ko", 0o644, []byte("text")))
		}, []string{"first.ko: It is no kernel module"}},
		{"init is missing", "amd64", func(p *parts) {
			p.root = without(p.t, without(p.t, p.root, "usr/sbin/init"), "usr/sbin/mount")
		}, []string{"slot-a: usr/sbin/init: It is missing"}},
		{"init is a script", "amd64", func(p *parts) {
			p.ok(p.root.AddBytes("usr/sbin/init", 0o755, []byte("#!/bin/sh\n")))
		}, []string{"slot-a: usr/sbin/init: It is no program"}},
		{"init is dynamic", "amd64", func(p *parts) {
			p.addDynamic("usr/sbin/init")
		}, []string{"slot-a: usr/sbin/init: It is not static"}},
		{"library is missing", "amd64", func(p *parts) {
			p.addDynamic("usr/bin/tool")
			p.root = without(p.t, p.root, "usr/lib/libtiny.so.1")
		}, []string{"slot-a: usr/bin/tool: It cannot be started"}},
		{"interpreter is missing", "amd64", func(p *parts) {
			p.addDynamic("usr/bin/tool")
			p.root = without(p.t, p.root, "usr/lib/ld-tiny.so.1")
		}, []string{"slot-a: usr/bin/tool: It cannot be started"}},
		{"mke2fs is missing", "amd64", func(p *parts) {
			p.root = without(p.t, p.root, "usr/sbin/mke2fs")
		}, []string{"slot-a: usr/sbin/mke2fs: The program is missing"}},
		{"mount point is missing", "amd64", func(p *parts) {
			p.root = without(p.t, p.root, "proc")
		}, []string{"slot-a: proc: The folder is missing"}},
		{"link leads nowhere", "amd64", func(p *parts) {
			p.ok(p.root.AddSymlink("usr/bin/tool", "../lib/tool"))
		}, []string{"slot-a: usr/bin/tool: It is a link to ../lib/tool, which is not there"}},
		{"file with set-user-ID", "amd64", func(p *parts) {
			p.mode("usr/sbin/e2fsck", 0o4755)
		}, []string{"slot-a: usr/sbin/e2fsck: It runs with its owner's rights"}},
		{"file that everybody may write", "amd64", func(p *parts) {
			p.mode("usr/lib/os-release", 0o666)
		}, []string{"slot-a: usr/lib/os-release: Everybody may write to it"}},
		{"os-release of another build", "amd64", func(p *parts) {
			p.ok(p.root.AddBytes("usr/lib/os-release", 0o644, []byte(strings.Replace(p.osrel, "1.2.0", "1.1.0", 1))))
		}, []string{"slot-a: etc/os-release: It and the kernel image skerry-1.2.0.efi disagree about VERSION_ID"}},
		{"file name that leads out of the root", "amd64", func(p *parts) {
			p.ok(p.root.AddBytes("usr/aa_escaped", 0o644, []byte("out")))
			p.erofs = func(image string) {
				b, err := os.ReadFile(image)
				p.ok(err)
				at := bytes.Index(b, []byte("aa_escaped"))
				patch(p.t, image, int64(at), []byte("../"))
			}
		}, []string{`a file cannot be called "../escaped"`}},
		{"file system that only fsck.erofs can tell is damaged", "amd64", func(p *parts) {
			p.erofs = func(image string) {
				for at := int64(200 << 10); at < 220<<10; at += 7 {
					patch(p.t, image, at, []byte{0xff})
				}
			}
		}, []string{"slot-a: Its files cannot be read: the file system is damaged: fsck.erofs"}},
	} {
		t.Run(test.name+" "+test.goarch, func(t *testing.T) {
			p := newParts(t, test.goarch)
			test.change(p)
			compare(t, report(t, p.image()), test.want)
		})
	}
}

// compare wants a finding for every text, and no other findings.
func compare(t *testing.T, r *Report, want []string) {
	t.Helper()
	all := findings(r)
	for _, text := range want {
		if !strings.Contains(all, text) {
			t.Errorf("no finding says %q, but:\n%s", text, all)
		}
	}
	for _, f := range r.Findings {
		known := false
		for _, text := range want {
			known = known || strings.Contains(f.String(), text)
		}
		if !known {
			t.Errorf("finding too much: %s", f)
		}
	}
}

// mode gives a file of the root other permissions. EROFS takes them from the
// inode, so the image is patched: trees have no such files.
func (p *parts) mode(name string, mode uint16) {
	p.erofs = func(image string) {
		contents, err := os.ReadFile(image)
		p.ok(err)
		e := &erofs{r: bytes.NewReader(contents), size: int64(len(contents))}
		p.ok(e.readSuper())
		nid := e.root
		for part := range strings.SplitSeq(name, "/") {
			d, err := e.inode(nid)
			p.ok(err)
			entries, err := e.directory(d)
			p.ok(err)
			nid = entries[part]
		}
		patch(p.t, image, e.meta+int64(nid)*erofsUnitBytes+4, []byte{byte(mode), 0x80 | byte(mode>>8)})
	}
}

// addDynamic adds a program with an interpreter and a library of its own.
func (p *parts) addDynamic(name string) {
	p.t.Helper()
	dir := p.t.TempDir()
	p.ok(os.WriteFile(filepath.Join(dir, "lib.c"), []byte("int tiny(void) { return 0; }\n"), 0o600))
	p.ok(os.WriteFile(filepath.Join(dir, "main.c"), []byte("int tiny(void);\nvoid _start(void) { tiny(); }\n"), 0o600))
	for _, args := range [][]string{
		{"-shared", "-nostdlib", "-Wl,-soname,libtiny.so.1", "-o", "libtiny.so.1", "lib.c"},
		{"-nostdlib", "-Wl,--dynamic-linker=/lib/ld-tiny.so.1", "-o", "main", "main.c", "libtiny.so.1"},
	} {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			p.t.Fatalf("gcc (package gcc): %v: %s", err, out)
		}
	}
	for to, from := range map[string]string{name: "main", "usr/lib/libtiny.so.1": "libtiny.so.1", "usr/lib/ld-tiny.so.1": "libtiny.so.1"} {
		contents, err := os.ReadFile(filepath.Join(dir, from))
		p.ok(err)
		p.ok(p.root.Add(to, tree.File{Mode: 0o755, Bytes: contents}))
	}
}

func TestDynamicProgramsWithTheirLibrariesAreFine(t *testing.T) {
	p := newParts(t, "amd64")
	p.addDynamic("usr/bin/tool")
	compare(t, report(t, p.image()), nil)
}

func TestShellsAreNotedAndNoFinding(t *testing.T) {
	p := newParts(t, "amd64")
	p.ok(p.root.AddBytes("usr/bin/busybox", 0o755, staticProgram(t, "amd64")))
	r := report(t, p.image())
	compare(t, r, nil)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "usr/bin/busybox") {
		t.Errorf("notes are %q", r.Notes)
	}
}

func TestChangedBytesAreFound(t *testing.T) {
	good := newParts(t, "amd64").image()
	params, err := verity.FromCommandLine(report(t, good).Releases[0].CommandLine)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(image string)
		want   []string
	}{
		{"bit of the root", func(image string) { flip(t, image, slotAAt+5*4096+77) },
			[]string{"slot-a: It is not what its root hash says: 1 data blocks are damaged, the first is block 5 at byte 20480 of the slot"}},
		{"bit of the hash tree", func(image string) { flip(t, image, slotAAt+params.Tree+4096) },
			[]string{"slot-a: It is not what its root hash says"}},
		{"top of the hash tree", func(image string) { flip(t, image, slotAAt+params.Tree) },
			[]string{"Neither slot-a nor slot-b has its hash tree"}},
		{"root wiped out", func(image string) { patch(t, image, slotAAt, make([]byte, 1<<20)) },
			[]string{"slot-a: It is not what its root hash says: 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "disk.img")
			if err := disk.Copy(context.Background(), image, good); err != nil {
				t.Fatal(err)
			}
			test.change(image)
			compare(t, report(t, image), test.want)
		})
	}
}

func TestImagesThatAreNotRawAreRefusedWithWhatToDo(t *testing.T) {
	for contents, want := range map[string]string{
		"\x28\xb5\x2f\xfdrest": "`zstd -d --sparse x`",
		"\xfd7zXZ\x00":         "`xz -dk x`",
		"QFI\xfb\x00\x00":      "`qemu-img convert -O raw x image.img`",
		"":                     "is the file complete?",
		"hello":                "is the file complete?",
	} {
		name := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(name, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Inspect(context.Background(), name, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestNamesInAnImageDoNothingToATerminal(t *testing.T) {
	p := newParts(t, "amd64")
	p.ok(p.root.AddSymlink("usr/bin/\x1b[2J\nno findings", "nowhere"))
	p.ok(p.boot.AddBytes("skerry.yaml", 0o644, []byte("hostname: x\ncolour: red\nsize: 3\n")))
	r := report(t, p.image())
	compare(t, r, []string{"no findings: It is a link to nowhere", "boot: skerry.yaml"})
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "\x1b") || strings.Count(text.String(), "\nfinding: ") != 2 || strings.Contains(text.String(), "\nno findings") {
		t.Errorf("text is %q", text.String())
	}
}
