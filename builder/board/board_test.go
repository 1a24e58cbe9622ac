package board_test

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/builder/board"
)

const small = `name: small
description: the least that a board has
architecture: arm64
debian: {suite: trixie, components: [main]}
kernel: {package: linux-image-arm64, arguments: [console=ttyAMA0]}
modules: {initramfs: [a], root: [a]}
bootloader:
  kind: uefi
  package: systemd-boot-efi
  loader: /usr/lib/systemd/boot/efi/systemd-bootaa64.efi
  stub: /usr/lib/systemd/boot/efi/linuxaa64.efi.stub
  path: EFI/BOOT/BOOTAA64.EFI
disk: {table: gpt, boot: 64MiB, slot: 64MiB}
overlays: [base]
`

// repository returns a repository with one board and what it names.
func repository(boardYAML string) fstest.MapFS {
	return fstest.MapFS{
		"boards/small/board.yaml":        {Data: []byte(boardYAML)},
		"boards/modules/a.yaml":          {Data: []byte("description: x\nmodules: [m]\namd64: [n]\n")},
		"overlays/base/overlay.yaml":     {Data: []byte("description: x\nprograms: [{package: e2fsprogs, files: [/usr/sbin/mke2fs]}]\nkernel: {arguments: [quiet]}\n")},
		"overlays/base/root/etc/hosts":   {Data: []byte("127.0.0.1 localhost\n")},
		"images/pause/main.go":           {Data: []byte("package main\n")},
		"overlays/README.md":             {Data: []byte("x")},
		"overlays/unfinished/root/etc/x": {Data: []byte("x")},
	}
}

func TestTheBoardsOfTheRepositoryAreRead(t *testing.T) {
	source := os.DirFS("../..")
	boards, err := board.List(source)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range boards {
		names = append(names, b.Name)
		for _, name := range slices.Concat(b.Modules.Initramfs, b.Modules.Root) {
			l, err := board.LoadModuleList(source, name)
			if err != nil {
				t.Error(err)
			} else if len(l.For(b.Architecture)) == 0 {
				t.Errorf("module list %s is empty for board %s", name, b.Name)
			}
		}
		for _, name := range append(b.Overlays, "debug") {
			if _, err := board.LoadOverlay(source, name); err != nil {
				t.Error(err)
			}
		}
	}
	if !slices.Contains(names, "x86_64") || !slices.Contains(names, "arm64") || !slices.IsSorted(names) {
		t.Errorf("got %v", names)
	}
}

func TestABoardIsReadAsItIsWritten(t *testing.T) {
	b, err := board.Load(repository(small), "small")
	if err != nil {
		t.Fatal(err)
	}
	want := &board.Board{
		Name: "small", Description: "the least that a board has", Architecture: "arm64",
		Debian:  board.Debian{Suite: "trixie", Components: []string{"main"}},
		Kernel:  board.Kernel{Package: "linux-image-arm64", Arguments: []string{"console=ttyAMA0"}},
		Modules: board.Modules{Initramfs: []string{"a"}, Root: []string{"a"}},
		Bootloader: board.Bootloader{
			Kind: board.BootUEFI, Package: "systemd-boot-efi",
			Loader: "/usr/lib/systemd/boot/efi/systemd-bootaa64.efi", Stub: "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
			Path: "EFI/BOOT/BOOTAA64.EFI",
		},
		Disk:     board.Disk{Table: board.TableGPT, Boot: 64 << 20, Slot: 64 << 20},
		Overlays: []string{"base"},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
}

func TestWrongBoardsAreExplained(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"name: small", "name: large", `:1:7: name: found "large" in the folder of board small: both are the same`},
		{"architecture: arm64", "architecture: aarch64", `:3:15: architecture: found "aarch64": amd64 or arm64 belongs here`},
		{"description: the least that a board has", `description: ""`, ":2:14: description: one line of text belongs here"},
		{"[main]", "[mian]", `:4:38: debian.components[0]: found "mian": main, contrib, non-free or non-free-firmware belongs here`},
		{"[main]", "[]", ":4:37: debian.components: the list is empty"},
		{"suite: trixie, ", "", ":4:1: debian.suite: this key is missing: text is needed"},
		{"linux-image-arm64", "Linux", `:5:19: kernel.package: found "Linux": the name of a Debian package belongs here`},
		{"[console=ttyAMA0]", `["a b"]`, `:5:50: kernel.arguments[0]: found "a b": one argument without spaces and quotes belongs here`},
		{"[console=ttyAMA0]", "[skerry.slot=x]", `:5:50: kernel.arguments[0]: found "skerry.slot=x": this argument is the builder's`},
		{"root: [a]", "root: [b]", `:6:34: modules.root[0]: found "b": there is no boards/modules/b.yaml`},
		{"root: [a]", "root: [../a]", `:6:34: modules.root[0]: found "../a": there is no boards/modules/../a.yaml`},
		{", root: [a]", "", ":6:1: modules.root: this key is missing: an image without modules starts nowhere"},
		{"kind: uefi", "kind: bios", `:8:9: bootloader.kind: found "bios": uefi or uboot belongs here`},
		{"loader: /usr", "loader: usr", `:10:11: bootloader.loader: found "usr/lib/systemd/boot/efi/systemd-bootaa64.efi": the absolute path of one file belongs here, as in /usr/sbin/mke2fs`},
		{"EFI/BOOT/BOOTAA64.EFI", "EFI/BOOT/../x.EFI", `:12:9: bootloader.path: found "EFI/BOOT/../x.EFI": EFI/BOOT/BOOT…EFI belongs here, as in EFI/BOOT/BOOTX64.EFI`},
		{"table: gpt", "table: mbr", `:13:15: disk.table: found mbr: UEFI boards have gpt`},
		{"boot: 64MiB", "boot: 63MiB", ":13:26: disk.boot: found 63MiB: a multiple of 1MiB from 64MiB to 1TiB belongs here"},
		{"slot: 64MiB", "slot: 65537KiB", ":13:39: disk.slot: found 65537KiB: a multiple of 1MiB from 64MiB to 1TiB belongs here"},
		{"slot: 64MiB", "slots: 64MiB", ":13:1: disk.slot: this key is missing: text is needed\n" +
			`:13:33: disk.slots: this key is not known here; did you mean "slot"?`},
		{"[base]", "[base, base]", `:14:18: overlays[1]: found "base" twice: keep one`},
		{"[base]", "[unfinished]", `:14:12: overlays[0]: found "unfinished": there is no overlays/unfinished/overlay.yaml`},
		{"overlays: [base]", "overlays: [base]\nprograms: [{package: a1, files: [/usr/bin/*]}]", `:15:34: programs[0].files[0]: found "/usr/bin/*": the absolute path of one file belongs here, as in /usr/sbin/mke2fs`},
		{"overlays: [base]", "overlays: [base]\nfirmware: [a]", `:15:12: firmware[0]: found "a": the name of a Debian package belongs here`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: cmd/skerry, file: /a}]", `:15:16: go[0].package: found "cmd/skerry": a folder of the repository or a package of a module belongs here, as in ./cmd/skerry or github.com/opencontainers/runc`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: ./cmd/nothing, file: /a}]", `:15:16: go[0].package: found "./cmd/nothing": there is no folder cmd/nothing`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: ./cmd/../x, file: /a}]", `:15:16: go[0].package: found "./cmd/../x": a folder of the repository or a package of a module belongs here, as in ./cmd/skerry or github.com/opencontainers/runc`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/..., file: /a}]", `:15:16: go[0].package: found "example.com/...": a folder of the repository or a package of a module belongs here, as in ./cmd/skerry or github.com/opencontainers/runc`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/x@latest, file: /a}]", `:15:16: go[0].package: found "example.com/x@latest": a folder of the repository or a package of a module belongs here, as in ./cmd/skerry or github.com/opencontainers/runc`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/x, file: a}]", `:15:37: go[0].file: found "a": the absolute path of one file belongs here, as in /usr/sbin/mke2fs`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/x, file: /a}, {package: example.com/y, file: /a}]", `:15:73: go[1].file: found "/a" twice: keep one`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/x, file: /a, tags: [\"a,b\"]}]", `:15:48: go[0].tags[0]: found "a,b": a build tag belongs here, as in seccomp`},
		{"overlays: [base]", "overlays: [base]\ngo: [{package: example.com/x, file: /a, libraries: [libc6-dev]}]", `:15:52: go[0].libraries: without cgo: true nothing is linked with them`},
	} {
		text := strings.Replace(small, test.old, test.new, 1)
		if text == small {
			t.Fatalf("%s is not in the board", test.old)
		}
		_, err := board.Load(repository(text), "small")
		if err == nil {
			t.Errorf("%s was accepted", test.new)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), "boards/small/board.yaml", ""); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.new, got, test.want)
		}
	}
}

func TestUnknownNamesAreAnsweredWithTheKnownOnes(t *testing.T) {
	source := repository(small)
	source["boards/other/board.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(small, "small", "other", 1))}
	for _, name := range []string{"rpi5", "", "../small", "small/", "SMALL"} {
		_, err := board.Load(source, name)
		if err == nil || !strings.HasSuffix(err.Error(), "is not known: there are other, small") {
			t.Errorf("board %q: %v", name, err)
		}
	}
	if _, err := board.LoadOverlay(source, "unfinished"); err == nil || err.Error() != `overlay "unfinished" is not known: there are base` {
		t.Errorf("overlay: %v", err)
	}
	if _, err := board.LoadModuleList(source, "b"); err == nil || !strings.Contains(err.Error(), "boards/modules/b.yaml") {
		t.Errorf("module list: %v", err)
	}
	if _, err := board.Load(fstest.MapFS{}, "small"); err == nil || !strings.Contains(err.Error(), "root folder of the repository") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestListTellsOfEveryWrongBoard(t *testing.T) {
	source := repository(small)
	source["boards/wrong/board.yaml"] = &fstest.MapFile{Data: []byte("name: wrong\n")}
	source["boards/empty/board.yaml"] = &fstest.MapFile{Data: []byte("# nothing\n")}
	boards, err := board.List(source)
	if len(boards) != 1 || boards[0].Name != "small" {
		t.Errorf("got %v", boards)
	}
	if err == nil || !strings.Contains(err.Error(), "boards/wrong/board.yaml:1:1: ") || !strings.Contains(err.Error(), "boards/empty/board.yaml is empty") {
		t.Errorf("got %v", err)
	}
}

func TestOverlaysBringFilesAndAdditions(t *testing.T) {
	source := repository(small)
	source["overlays/plain/overlay.yaml"] = &fstest.MapFile{Data: []byte("description: x\n")}
	source["overlays/wrong/overlay.yaml"] = &fstest.MapFile{Data: []byte("description: x\nmodules: {root: [zz]}\nkernel: {package: x}\n")}
	o, err := board.LoadOverlay(source, "base")
	if err != nil {
		t.Fatal(err)
	}
	if o.Name != "base" || o.Programs[0].Package != "e2fsprogs" || o.Kernel.Arguments[0] != "quiet" {
		t.Errorf("got %+v", o)
	}
	root, ok := o.Root(source)
	if !ok {
		t.Fatal("no root")
	}
	if text, err := fs.ReadFile(root, "etc/hosts"); err != nil || !strings.Contains(string(text), "localhost") {
		t.Errorf("%q, %v", text, err)
	}
	plain, err := board.LoadOverlay(source, "plain")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := plain.Root(source); ok {
		t.Error("an overlay without files has a root")
	}
	_, err = board.LoadOverlay(source, "wrong")
	if err == nil || !strings.Contains(err.Error(), `overlay.yaml:2:18: modules.root[0]: found "zz"`) || !strings.Contains(err.Error(), "kernel.package: this key is not known here") {
		t.Errorf("got %v", err)
	}
}

func TestModuleListsHaveEntriesForEachArchitecture(t *testing.T) {
	source := repository(small)
	l, err := board.LoadModuleList(source, "a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"m", "n"}, {"m"}}, [][]string{l.For("amd64"), l.For("arm64")}); diff != "" {
		t.Error(diff)
	}
	source["boards/modules/b.yaml"] = &fstest.MapFile{Data: []byte("description: x\nmodules: [/a, \"\"]\n")}
	if _, err := board.LoadModuleList(source, "b"); err == nil || strings.Count(err.Error(), "belongs here") != 2 {
		t.Errorf("got %v", err)
	}
	source["boards/modules/b.yaml"] = &fstest.MapFile{Data: []byte("description: x\n")}
	if _, err := board.LoadModuleList(source, "b"); err == nil {
		t.Error("an empty list was accepted")
	}
}
