package erofs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/tree"
)

var testID = uuid.MustParse("11111111-2222-5333-8444-555555555555")

func sample(t *testing.T) *tree.Tree {
	t.Helper()
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, bytes.Repeat([]byte("compressible "), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 300_001)
	rand.NewChaCha8([32]byte{}).Read(random)
	tr := tree.New()
	for _, err := range []error{
		tr.AddSource("usr/lib/a", 0o644, source),
		tr.AddSource("usr/lib/b", 0o755, source), // the same source, but not the same file
		tr.AddSource("usr/lib/skerry/c", 0o755, source),
		tr.AddBytes("usr/lib/random", 0o600, random),
		tr.AddBytes("etc/empty", 0o640, nil),
		tr.AddBytes("etc/Käse 日本", 0o444, []byte("x")),
		tr.AddDir("tmp", 0o777|fs.ModeSticky),
		tr.AddDir("proc", 0o555),
		tr.AddDir("root", 0o700),
		tr.AddSymlink("sbin", "usr/sbin"),
		tr.AddSymlink("usr/sbin/init", "/usr/bin/agent"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func options(t *testing.T, tr *tree.Tree) Options {
	return Options{
		Tree: tr, Output: filepath.Join(t.TempDir(), "root.erofs"), WorkDir: t.TempDir(),
		UUID: testID, Time: time.Unix(1_700_000_000, 0), Compression: LZ4,
	}
}

func made(t *testing.T, o Options) []byte {
	t.Helper()
	size, err := Make(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != size || size%4096 != 0 {
		t.Errorf("image has %d bytes, Make says %d", len(b), size)
	}
	return b
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s (run `make deps`)", name, args, err, out)
	}
	return string(out)
}

func TestFsckErofsExtractsTheTree(t *testing.T) {
	for _, c := range []Compression{LZ4, LZ4HC} {
		tr := sample(t)
		o := options(t, tr)
		o.Compression = c
		made(t, o)
		to := filepath.Join(t.TempDir(), "x")
		tool(t, "fsck.erofs", "--extract="+to, "--preserve-perms", "--no-preserve-owner", o.Output)
		found := 0
		if err := filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
			if err != nil || p == to {
				return err
			}
			found++
			rel, _ := filepath.Rel(to, p)
			want, ok := tr.Get(rel)
			if !ok {
				t.Errorf("%s: %s is in the image and not in the tree", c, rel)
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode() != want.Mode {
				t.Errorf("%s: %s has mode %v, want %v", c, rel, info.Mode(), want.Mode)
			}
			switch want.Mode.Type() {
			case fs.ModeSymlink:
				if target, _ := os.Readlink(p); target != want.Target {
					t.Errorf("%s: %s leads to %s", c, rel, target)
				}
			case 0:
				contents, _ := want.Read()
				if got, err := os.ReadFile(p); err != nil || !bytes.Equal(got, contents) {
					t.Errorf("%s: %s has %d bytes, want %d: %v", c, rel, len(got), len(contents), err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if found != len(tr.Paths()) {
			t.Errorf("%s: %d entries in the image, %d in the tree", c, found, len(tr.Paths()))
		}
	}
}

func TestDumpErofsShowsOwnerAndTime(t *testing.T) {
	o := options(t, sample(t))
	made(t, o)
	super := tool(t, "dump.erofs", "-s", o.Output)
	if !strings.Contains(strings.ToLower(super), testID.String()) {
		t.Errorf("the superblock lacks the identifier:\n%s", super)
	}
	for _, p := range []string{"/", "/tmp", "/usr/lib/a"} {
		inode := tool(t, "dump.erofs", "--path="+p, o.Output)
		for _, want := range []string{`Uid: 0\s+Gid: 0`, `Timestamp: 2023-11-14 22:13:20`} {
			if !regexp.MustCompile(want).MatchString(inode) {
				t.Errorf("%s: no %q in\n%s", p, want, inode)
			}
		}
		if p == "/" && !regexp.MustCompile(`Access: 0755`).MatchString(inode) {
			t.Errorf("only root may enter the root directory:\n%s", inode)
		}
	}
}

func TestAFileWithSeveralNamesIsStoredOnce(t *testing.T) {
	o := options(t, sample(t))
	made(t, o)
	file := regexp.MustCompile(`(?s)NID: (\d+)\s+Links: (\d+)`)
	shown := map[string][]string{}
	for _, p := range []string{"/usr/lib/a", "/usr/lib/b", "/usr/lib/skerry/c"} {
		inode := tool(t, "dump.erofs", "--path="+p, o.Output)
		if shown[p] = file.FindStringSubmatch(inode); shown[p] == nil {
			t.Fatalf("%s: no number and links in\n%s", p, inode)
		}
	}
	a, b, c := shown["/usr/lib/a"], shown["/usr/lib/b"], shown["/usr/lib/skerry/c"]
	if b[1] != c[1] || b[2] != "2" {
		t.Errorf("two names of one file: inodes %s and %s, %s links", b[1], c[1], b[2])
	}
	if a[1] == b[1] || a[2] != "1" {
		t.Errorf("a file with other permissions is the same inode %s, %s links", a[1], a[2])
	}
}

func TestSameBytesWhateverTheHost(t *testing.T) {
	tr := sample(t)
	want := made(t, options(t, tr))

	// Another order of creation: the same entries, added the other way round.
	reversed := tree.New()
	paths := tr.Paths()
	for i := len(paths) - 1; i >= 0; i-- {
		f, _ := tr.Get(paths[i])
		if err := reversed.Add(paths[i], f); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("LC_ALL", "tr_TR.UTF-8")
	defer syscall.Umask(syscall.Umask(0o077))
	o := options(t, reversed)
	o.WorkDir = filepath.Join(o.WorkDir, strings.Repeat("deep/", 20))
	if err := os.MkdirAll(o.WorkDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made(t, o), want) {
		t.Error("the image depends on order, umask, time zone, locale or directory")
	}
}

func TestEveryOptionIsInTheImage(t *testing.T) {
	tr := sample(t)
	base := made(t, options(t, tr))
	for name, change := range map[string]func(*Options){
		"UUID":        func(o *Options) { o.UUID[0] ^= 1 },
		"time":        func(o *Options) { o.Time = o.Time.Add(time.Second) },
		"compression": func(o *Options) { o.Compression = LZ4HC },
	} {
		o := options(t, tr)
		change(&o)
		if bytes.Equal(made(t, o), base) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

func TestFailureNamesTheCauseAndLeavesNothing(t *testing.T) {
	missing := tree.New()
	if err := missing.AddSource("a", 0o644, "/nonexistent/a"); err != nil {
		t.Fatal(err)
	}
	failing := t.TempDir()
	script := "#!/bin/sh\necho '<E> erofs: it broke' >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(failing, "mkfs.erofs"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*testing.T, *Options){
		"run `make deps`":       func(t *testing.T, _ *Options) { t.Setenv("PATH", t.TempDir()) },
		"erofs: it broke":       func(t *testing.T, _ *Options) { t.Setenv("PATH", failing) },
		"open /nonexistent/a":   func(_ *testing.T, o *Options) { o.Tree = missing },
		`no compression "zstd"`: func(_ *testing.T, o *Options) { o.Compression = "zstd" },
	} {
		t.Run(want, func(t *testing.T) {
			o := options(t, sample(t))
			change(t, &o)
			if _, err := Make(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want one with %q", err, want)
			}
			empty(t, o)
		})
	}
}

func TestCancelKillsTheProgramAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	// exec: the program itself has to be killed, not a shell around it.
	script := fmt.Sprintf("#!/bin/sh\necho started > %s/started\nexec sleep 1000\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "mkfs.erofs"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	o := options(t, sample(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Make(ctx, o)
		done <- err
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "started")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	empty(t, o)
}

// empty fails if anything is left where Make wrote.
func empty(t *testing.T, o Options) {
	t.Helper()
	for _, dir := range []string{o.WorkDir, filepath.Dir(o.Output)} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("%s is not empty: %v %v", dir, entries, err)
		}
	}
}

func TestVersionIsThatOfTheTool(t *testing.T) {
	v, err := Version(context.Background())
	if err != nil || !regexp.MustCompile(`^\d+\.\d+`).MatchString(v) {
		t.Errorf("version is %q: %v", v, err)
	}
}
