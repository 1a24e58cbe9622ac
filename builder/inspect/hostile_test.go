package inspect

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/skerry-os/skerry/builder/initramfs"
	"github.com/skerry-os/skerry/builder/tree"
)

// erofsImage makes a file system with mkfs.erofs.
func erofsImage(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "root.erofs")
	if out, err := exec.Command("mkfs.erofs", append(args, "--quiet", name, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs (run `make deps`): %v: %s", err, out)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sampleDir has files of all kinds, and a directory of several blocks.
func sampleDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, contents []byte, mode fs.FileMode) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/bin/setuid", []byte("x"), 0o755|fs.ModeSetuid)
	write("big", bytes.Repeat([]byte("big"), 100_000), 0o640)
	write("empty", nil, 0o644)
	for n := range 200 {
		write("many/"+strings.Repeat("n", 40)+string(rune('a'+n%26))+strings.Repeat("m", n/26), []byte{byte(n)}, 0o644)
	}
	for link, target := range map[string]string{"short": "big", "long": strings.Repeat("../", 300) + "x"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestErofsMetadataAreThoseOfTheSource(t *testing.T) {
	dir := sampleDir(t)
	for _, args := range [][]string{{"-zlz4"}, {"-zlz4hc", "-C65536", "-x-1", "--all-root"}, {"-Eforce-inode-extended"}, {"-Enoinline_data"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			image := erofsImage(t, dir, args...)
			nodes, err := readErofs(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err != nil || p == dir {
					return err
				}
				count++
				name, err := filepath.Rel(dir, p)
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err != nil {
					return err
				}
				target := ""
				if d.Type() == fs.ModeSymlink {
					target, err = os.Readlink(p)
				}
				n, ok := nodes[name]
				if !ok || n.mode != info.Mode() || n.target != target || info.Mode().IsRegular() && n.size != info.Size() {
					t.Errorf("%s is %+v, want %v, %d bytes", name, n, info.Mode(), info.Size())
				}
				return err
			})
			if err != nil || count != len(nodes) {
				t.Errorf("%d files are in it, %d were put in: %v", len(nodes), count, err)
			}
		})
	}
}

func FuzzReadErofs(f *testing.F) {
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("a/b", filepath.Join(dir, "link")); err != nil {
		f.Fatal(err)
	}
	f.Add(erofsImage(f, dir))
	f.Add(erofsImage(f, dir, "-Eforce-inode-extended"))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, err := readErofs(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for name := range nodes {
			if !filepath.IsLocal(name) {
				t.Errorf("file %q leads out of the root", name)
			}
		}
	})
}

// sampleArchive is an initramfs before it is compressed.
func sampleArchive(t testing.TB) []byte {
	t.Helper()
	files := tree.New()
	for name, contents := range map[string]string{"init": "program", "usr/lib/a": "", "usr/lib/b": "12345"} {
		if err := files.AddBytes(name, 0o755, []byte(contents)); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.AddSymlink("lib", "usr/lib"); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := initramfs.Make(context.Background(), files, &packed); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := z.DecodeAll(packed.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestArchivesThatTheKernelWouldNotUnpackAreRefused(t *testing.T) {
	good := sampleArchive(t)
	if files, console, err := readCPIO(context.Background(), bytes.NewReader(good)); err != nil || !console || len(files.Paths()) != 7 {
		t.Fatalf("%v, console %v, %v", files, console, err)
	}
	for name, test := range map[string]struct{ from, to, want string }{
		"magic":             {"070701", "070702", `begins with "070702"`},
		"number":            {"0707010000000", "070701x000000", "for a number"},
		"name that escapes": {"usr/lib/a", "../../../", "cannot be called"},
		"absolute name":     {"usr/lib/a", "/sr/lib/a", "cannot be called"},
		"missing folder":    {"usr/lib/a", "xsr/lib/a", "before its folder"},
		"end":               {"TRAILER!!!", "TRAILER!!?", "unexpected EOF"},
	} {
		b := bytes.Replace(good, []byte(test.from), []byte(test.to), 1)
		if _, _, err := readCPIO(context.Background(), bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, test.want)
		}
	}
	for n := range len(good) - 120 {
		if _, _, err := readCPIO(context.Background(), bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("%d bytes of %d pass as an archive", n, len(good))
		}
	}
}

func TestInitramfsBombsAreRefused(t *testing.T) {
	const limit = 4 << 20
	for size, want := range map[int]string{limit - 1000: "", limit: "more than 4194304 bytes"} {
		files := tree.New()
		if err := files.AddBytes("zeros", 0o644, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		if err := initramfs.Make(context.Background(), files, &packed); err != nil {
			t.Fatal(err)
		}
		if packed.Len() > 10_000 {
			t.Errorf("%d bytes are no bomb", packed.Len())
		}
		_, err := unpackInitramfs(context.Background(), &packed, limit)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: error is %v, want one with %q", size, err, want)
		}
	}
}

func FuzzReadCPIO(f *testing.F) {
	f.Add(sampleArchive(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, _, err := readCPIO(context.Background(), bytes.NewReader(b))
		if err != nil {
			return
		}
		if size, err := files.Size(); err != nil || size > int64(len(b)) {
			t.Errorf("%d bytes came out of %d, %v", size, len(b), err)
		}
	})
}
