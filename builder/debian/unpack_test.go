package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unpackDir returns a folder whose clean-up gets along with folders that
// nobody may write to.
func unpackDir(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(p, 0o700)
			}
			return nil
		})
	})
	return dir
}

// listing describes what is below a folder, with hard links as such.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%s %v", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + sum(b)[:8]
			stat := info.Sys().(*syscall.Stat_t)
			if stat.Nlink > 1 && first[stat.Ino] != "" {
				line += " = " + first[stat.Ino]
			} else {
				first[stat.Ino] = rel
			}
		case info.Mode().Type() == fs.ModeSymlink:
			to, _ := os.Readlink(p)
			line += " -> " + to
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sampleTar(t testing.TB) []byte {
	return tarball(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./usr/locked/", Typeflag: tar.TypeDir, Mode: 0o555},
		tar.Header{Name: "./usr/locked/file", Typeflag: tar.TypeReg, Mode: 0o440, PAXRecords: body("kept in a folder that nobody may write to")},
		tar.Header{Name: "./usr/program", Typeflag: tar.TypeReg, Mode: 0o755, PAXRecords: body(strings.Repeat("program", 100_000))},
		tar.Header{Name: "./usr/twin", Typeflag: tar.TypeLink, Linkname: "./usr/program"},
		tar.Header{Name: "./usr/empty", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "./usr/" + strings.Repeat("long/", 40) + "name", Typeflag: tar.TypeReg, PAXRecords: body("x")},
		tar.Header{Name: "./tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		tar.Header{Name: "./etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./etc/outside", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "./etc/above", Typeflag: tar.TypeSymlink, Linkname: "../../../x"},
	)
}

// pack writes a .deb and returns its record and its path.
func pack(t testing.TB, suffix string, data []byte) (Package, string) {
	t.Helper()
	b := deb(suffix, data)
	path := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return Package{Name: "sample", Version: "1", Architecture: "amd64", Filename: "pool/x.deb", Size: int64(len(b)), SHA256: sum(b)}, path
}

func TestUnpackDoesWhatDpkgDoes(t *testing.T) {
	plain := sampleTar(t)
	for suffix, data := range map[string][]byte{
		"": plain, ".xz": xzPack(t, plain), ".gz": filter(t, plain, "gzip", "-c"), ".zst": filter(t, plain, "zstd", "-c"),
	} {
		p, file := pack(t, suffix, data)
		got := unpackDir(t)
		// The umask must not show.
		old := syscall.Umask(0o077)
		err := p.Unpack(context.Background(), file, got, nil)
		syscall.Umask(old)
		if err != nil {
			t.Errorf("data.tar%s: %v", suffix, err)
			continue
		}
		want := filepath.Join(unpackDir(t), "dpkg")
		// control.tar is read by no one but dpkg: give it a real one.
		real := filepath.Join(t.TempDir(), "real.deb")
		control := tarball(t, tar.Header{Name: "./control", Typeflag: tar.TypeReg, PAXRecords: body("Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n")})
		if err := os.WriteFile(real, ar(member{"debian-binary", []byte("2.0\n")}, member{"control.tar", control}, member{"data.tar" + suffix, data}), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("dpkg-deb", "-x", real, want).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb (package dpkg): %v\n%s", err, out)
		}
		if diff := cmp.Diff(listing(t, want), listing(t, got)); diff != "" {
			t.Errorf("data.tar%s: -dpkg-deb +Unpack\n%s", suffix, diff)
		}
	}
}

func TestUnpackDropsBitsThatLendRights(t *testing.T) {
	p, file := pack(t, "", tarball(t,
		tar.Header{Name: "./su", Typeflag: tar.TypeReg, Mode: 0o4755, PAXRecords: body("x")},
		tar.Header{Name: "./mail", Typeflag: tar.TypeDir, Mode: 0o2775}))
	dir := unpackDir(t)
	if err := p.Unpack(context.Background(), file, dir, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"mail drwxrwxr-x", "su -rwxr-xr-x " + sum([]byte("x"))[:8]}
	if diff := cmp.Diff(want, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestUnpackKeepsOnlyWhatIsAskedFor(t *testing.T) {
	p, file := pack(t, ".xz", xzPack(t, sampleTar(t)))
	dir := unpackDir(t)
	var asked []string
	err := p.Unpack(context.Background(), file, dir, func(path string) bool {
		asked = append(asked, path)
		return path == "usr/locked/file" || path == "etc/above"
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"etc drwxr-xr-x", "etc/above Lrwxrwxrwx -> ../../../x", "usr drwxr-xr-x", "usr/locked drwxr-xr-x",
		"usr/locked/file -r--r----- " + sum([]byte("kept in a folder that nobody may write to"))[:8]}
	if diff := cmp.Diff(want, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(asked, "usr/program") || slices.Contains(asked, ".") {
		t.Errorf("asked about %v", asked)
	}
	err = p.Unpack(context.Background(), file, t.TempDir(), func(path string) bool { return path == "usr/twin" })
	if err == nil || !strings.Contains(err.Error(), "usr/twin: it is a hard link to usr/program, which is not unpacked") {
		t.Errorf("a hard link alone: %v", err)
	}
}

func TestUnpackWritesNothingOutside(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: body("evil")}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for _, c := range []struct {
		name    string
		entries []tar.Header
		says    string
	}{
		{"a name that leaves", []tar.Header{file("../evil")}, "would leave the folder"},
		{"a name that leaves and comes back", []tar.Header{file("./a/../../out/evil")}, "would leave the folder"},
		{"an absolute name", []tar.Header{file("/evil")}, "would leave the folder"},
		{"through a link to a folder outside", []tar.Header{link("./a", ".."), file("./a/evil")}, "a/evil: a above it is no folder"},
		{"through an absolute link", []tar.Header{link("./a", "/tmp"), file("./a/b/evil")}, "a above it is no folder"},
		{"through a link inside", []tar.Header{{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755}, link("./lib", "usr"), file("./lib/evil")}, "lib above it is no folder"},
		{"over a link", []tar.Header{link("./a", "../evil"), file("./a")}, "has it twice"},
		{"a link over a folder", []tar.Header{{Name: "./a/", Typeflag: tar.TypeDir, Mode: 0o755}, link("./a", "..")}, "has it twice"},
		{"a folder over a link", []tar.Header{link("./a", ".."), {Name: "./a/", Typeflag: tar.TypeDir, Mode: 0o755}}, "has it twice"},
		{"below a file", []tar.Header{file("./a"), file("./a/b")}, "a above it is no folder"},
		{"a hard link to the outside", []tar.Header{{Name: "./a", Typeflag: tar.TypeLink, Linkname: "../evil"}}, "would leave the folder"},
		{"a hard link to a link", []tar.Header{link("./a", "../evil"), {Name: "./b", Typeflag: tar.TypeLink, Linkname: "./a"}}, "a, which is no file"},
		{"a hard link to nothing", []tar.Header{{Name: "./b", Typeflag: tar.TypeLink, Linkname: "./a"}}, "which is not unpacked"},
		{"a device", []tar.Header{{Name: "./sda", Typeflag: tar.TypeBlock, Devmajor: 8}}, "only files, folders and links"},
		{"a pipe", []tar.Header{{Name: "./p", Typeflag: tar.TypeFifo}}, "only files, folders and links"},
		{"a root that is a link", []tar.Header{link("./", "/")}, "the root is no folder"},
	} {
		outer := unpackDir(t)
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		p, deb := pack(t, "", tarball(t, c.entries...))
		err := p.Unpack(context.Background(), deb, dir, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if found, _ := filepath.Glob(outer + "/*"); len(found) != 1 {
			t.Errorf("%s: it wrote %v", c.name, found)
		}
	}
}

func TestUnpackRefusesDamagedPackages(t *testing.T) {
	plain := sampleTar(t)
	packed := xzPack(t, plain)
	flipped := slices.Clone(packed)
	flipped[len(flipped)/2] ^= 1
	whole := deb(".xz", packed)
	for _, c := range []struct {
		name string
		deb  []byte
		says string
	}{
		{"empty", nil, "does not begin as an ar archive"},
		{"text", []byte("hello, this is no package"), "does not begin as an ar archive"},
		{"cut off in the data", whole[:len(whole)-100], "it is cut off"},
		{"cut off in a header", whole[:100], "cut off"},
		{"no data", ar(member{"debian-binary", []byte("2.0\n")}), "no member data.tar"},
		{"another format", ar(member{"debian-binary", []byte("3.0\n")}, member{"data.tar", plain}), "no .deb of format 2"},
		{"another archive", ar(member{"data.tar", plain}), "no .deb of format 2"},
		{"a negative size", bytes.Replace(whole, fmt.Appendf(nil, "%-10d`", len(packed)), []byte("-100      `"), 1), "size is damaged"},
		{"an unknown compression", deb(".lzma", plain), "data.tar.lzma: this compression is not supported"},
		{"a damaged xz stream", deb(".xz", flipped), "xz: "},
		{"half an xz stream", deb(".xz", packed[:len(packed)/2]), "xz: "},
		{"xz that is not", deb(".xz", plain), "xz: "},
		{"gzip that is not", deb(".gz", plain), "data.tar.gz"},
		{"zstd that is not", deb(".zst", plain), ""},
		{"half a tar archive", deb("", plain[:len(plain)/2]), "usr/program: unexpected EOF"},
	} {
		err := unpackDeb(context.Background(), bytes.NewReader(c.deb), int64(len(c.deb)), unpackDir(t), nil)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestUnpackChecksThePackageAndTheFolder(t *testing.T) {
	p, file := pack(t, "", sampleTar(t))
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Unpack(context.Background(), file, full, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a full folder: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Unpack(ctx, file, t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1]++
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := unpackDir(t)
	err = p.Unpack(context.Background(), file, dir, nil)
	if err == nil || !strings.Contains(err.Error(), "unpack package sample 1") || !strings.Contains(err.Error(), "is damaged: remove it") {
		t.Errorf("a changed byte: %v", err)
	}
	if left := listing(t, dir); len(left) > 0 {
		t.Errorf("unpacked a damaged package: %v", left)
	}
}

func FuzzUnpack(f *testing.F) {
	plain := sampleTar(f)
	f.Add(deb("", plain[:8192]))
	f.Add(deb(".gz", filter(f, plain, "gzip", "-c")))
	f.Add(deb(".zst", filter(f, plain, "zstd", "-c")))
	f.Add(deb("", tarball(f, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "a/b", Typeflag: tar.TypeReg})))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := unpackDir(t)
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		unpackDeb(context.Background(), bytes.NewReader(b), int64(len(b)), dir, nil)
		if found, _ := filepath.Glob(outer + "/*"); len(found) != 1 {
			t.Errorf("it wrote %v", found)
		}
	})
}
