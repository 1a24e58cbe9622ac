package verity

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var testSalt = []byte("0123456789abcdef0123456789abcdef")

// veritysetup runs cryptsetup's tool, our oracle.
func veritysetup(t *testing.T, args ...string) (string, error) {
	t.Helper()
	name, err := exec.LookPath("veritysetup")
	if err != nil {
		if name, err = exec.LookPath("/usr/sbin/veritysetup"); err != nil {
			t.Fatalf("veritysetup is missing: run `make deps`: %v", err)
		}
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

// slotFile makes a slot of random data from root on, and appends its tree.
func slotFile(t *testing.T, root, blocks int64, salt []byte) (*os.File, Params) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "slot"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := io.CopyN(io.NewOffsetWriter(f, root), rand.NewChaCha8([32]byte{byte(blocks)}), blocks*BlockSize); err != nil {
		t.Fatal(err)
	}
	p, err := Append(context.Background(), f, root, blocks*BlockSize, salt)
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

func boundaries() []int64 {
	return []int64{1, 2, 127, 128, 129, 255, 256, 257, 128*128 - 1, 128 * 128, 128*128 + 1}
}

func TestTreeIsThatOfVeritysetup(t *testing.T) {
	for _, blocks := range boundaries() {
		f, p := slotFile(t, 0, blocks, testSalt)
		tree := filepath.Join(t.TempDir(), "tree")
		// veritysetup wants a hash device even where it writes nothing.
		if err := os.WriteFile(tree, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := veritysetup(t, "format", "--no-superblock", "--hash=sha256", "--data-block-size=4096",
			"--hash-block-size=4096", fmt.Sprint("--data-blocks=", blocks), "--salt="+hex.EncodeToString(testSalt), f.Name(), tree)
		if err != nil {
			t.Fatalf("veritysetup format of %d blocks: %v: %s", blocks, err, out)
		}
		root := regexp.MustCompile(`Root hash:\s+([0-9a-f]+)`).FindStringSubmatch(out)
		if root == nil || root[1] != hex.EncodeToString(p.Hash[:]) {
			t.Errorf("%d blocks: root hash is %x, veritysetup says %v", blocks, p.Hash, root)
		}
		want, err := os.ReadFile(tree)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, TreeSize(blocks))
		if err := readFull(f, got, p.Tree); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d blocks: the tree of %d bytes differs from veritysetup's of %d", blocks, len(got), len(want))
		}
		if info, _ := f.Stat(); info.Size() != p.End() {
			t.Errorf("%d blocks: the slot has %d bytes, End says %d", blocks, info.Size(), p.End())
		}
	}
}

func TestVeritysetupVerifiesTheSlot(t *testing.T) {
	for _, salt := range [][]byte{testSalt, nil, bytes.Repeat([]byte{7}, 256)} {
		f, p := slotFile(t, 0, 300, salt)
		args := []string{"verify", "--no-superblock", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096",
			fmt.Sprint("--data-blocks=", p.Blocks), fmt.Sprint("--hash-offset=", p.Tree), f.Name(), f.Name(), hex.EncodeToString(p.Hash[:])}
		if len(salt) > 0 {
			args = append(args, "--salt="+hex.EncodeToString(salt))
		} else {
			args = append(args, "--salt=-")
		}
		if out, err := veritysetup(t, args...); err != nil {
			t.Errorf("salt of %d bytes: %v: %s", len(salt), err, out)
		}
		if _, err := f.WriteAt([]byte{0xff, 0xfe, 0xfd}, 5*BlockSize); err != nil {
			t.Fatal(err)
		}
		if out, err := veritysetup(t, args...); err == nil {
			t.Errorf("veritysetup does not see the damage: %s", out)
		}
	}
}

func TestSameTreeOnAnyNumberOfCores(t *testing.T) {
	_, want := slotFile(t, 0, 1000, testSalt)
	for _, cores := range []int{1, 3, 16} {
		old := runtime.GOMAXPROCS(cores)
		_, got := slotFile(t, 0, 1000, testSalt)
		runtime.GOMAXPROCS(old)
		if got.Hash != want.Hash {
			t.Errorf("on %d cores the root hash is %x, not %x", cores, got.Hash, want.Hash)
		}
	}
}

func TestFileSystemMayStandBehindABootArea(t *testing.T) {
	_, first := slotFile(t, 0, 200, testSalt)
	f, p := slotFile(t, 3*BlockSize, 200, testSalt)
	if p.Hash != first.Hash {
		t.Error("the root hash depends on where the file system is")
	}
	if p.Root != 3*BlockSize || p.Tree != 203*BlockSize {
		t.Errorf("root is at %d, tree at %d", p.Root, p.Tree)
	}
	if err := Verify(context.Background(), f, p); err != nil {
		t.Error(err)
	}
}

func TestVerifyAcceptsWhatAppendMade(t *testing.T) {
	for _, blocks := range boundaries() {
		f, p := slotFile(t, 0, blocks, testSalt)
		if err := Verify(context.Background(), f, p); err != nil {
			t.Errorf("%d blocks: %v", blocks, err)
		}
		if ok, err := Matches(f, p); !ok || err != nil {
			t.Errorf("%d blocks: matches: %v, %v", blocks, ok, err)
		}
	}
}

func TestVerifyNamesTheDamage(t *testing.T) {
	const blocks = 128*128 + 130 // levels of 130, 2 and 1 hash blocks
	const start = 2 * BlockSize
	tree := int64(start + blocks*BlockSize)
	flip := func(at ...int64) []int64 { return at }
	f, p := slotFile(t, start, blocks, testSalt)
	change := func(places []int64) {
		for _, at := range places {
			b := make([]byte, 1)
			if err := readFull(f, b, at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		flip []int64 // bytes of the slot
		want CorruptError
	}{
		"first data block": {flip(start), CorruptError{Data: Damage{1, 0, start}}},
		"last data block":  {flip(tree - 1), CorruptError{Data: Damage{1, blocks - 1, tree - BlockSize}}},
		"two data blocks": {flip(start+9*BlockSize, start+200*BlockSize+5),
			CorruptError{Data: Damage{2, 9, start + 9*BlockSize}}},
		"top": {flip(tree), CorruptError{Hash: Damage{2, 0, tree}}}, // and the block whose hash was there
		"a hash of the lowest level": {flip(tree + 3*BlockSize + 32), CorruptError{
			Hash: Damage{1, 3, tree + 3*BlockSize}, Data: Damage{1, 1, start + BlockSize}}},
		"behind the last hash": {flip(tree + (3+129)*BlockSize + 4095), CorruptError{
			Hash: Damage{1, 132, tree + 132*BlockSize}}},
		"the middle level": {flip(tree + BlockSize), CorruptError{
			Hash: Damage{2, 1, tree + BlockSize}}},
	} {
		change(c.flip)
		err := Verify(context.Background(), f, p)
		change(c.flip) // back
		var got *CorruptError
		if !errors.As(err, &got) || *got != c.want {
			t.Errorf("%s: %v, want %v", name, err, &c.want)
		}
	}
}

func TestMatchesOnlyItsOwnSlot(t *testing.T) {
	f, p := slotFile(t, 0, 200, testSalt)
	other := p
	other.Hash[31] ^= 1
	for name, c := range map[string]struct {
		r io.ReaderAt
		p Params
	}{
		"other hash":        {f, other},
		"empty partition":   {bytes.NewReader(make([]byte, p.End())), p},
		"smaller partition": {bytes.NewReader(make([]byte, p.Tree)), p},
	} {
		if ok, err := Matches(c.r, c.p); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	broken := errors.New("medium error")
	if _, err := Matches(failing{broken}, p); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestAppendAndVerifyRefuse(t *testing.T) {
	f, p := slotFile(t, 0, 200, testSalt)
	for want, call := range map[string]func() error{
		"pad it to a multiple of 4096": func() error { _, err := Append(context.Background(), f, 0, 4097, nil); return err },
		"blocks=0":                     func() error { _, err := Append(context.Background(), f, 0, 0, nil); return err },
		"root=512":                     func() error { _, err := Append(context.Background(), f, 512, 4096, nil); return err },
		"salt has 257 bytes": func() error {
			_, err := Append(context.Background(), f, 0, 4096, make([]byte, 257))
			return err
		},
		"unexpected EOF": func() error {
			return Verify(context.Background(), io.NewSectionReader(f, 0, p.End()-1), p)
		},
		"context canceled": func() error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return Verify(ctx, f, p)
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	const blocks = 16 << 10
	f, err := os.Create(filepath.Join(b.TempDir(), "slot"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{}), blocks*BlockSize); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(blocks * BlockSize)
	for b.Loop() {
		if _, err := Append(context.Background(), f, 0, blocks*BlockSize, testSalt); err != nil {
			b.Fatal(err)
		}
	}
}
