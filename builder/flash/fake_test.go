package flash

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/fat"
)

const mib = 1 << 20

// fake is a disk in memory. What was never written reads as fill.
type fake struct {
	size    int64
	fill    byte
	pages   map[int64][]byte
	written int64
	loses   int64  // a write over this byte does not happen, if it is not 0
	after   func() // called after every write
	punches bool
}

const pageBytes = 64 << 10

func newFake(size int64, fill byte) *fake {
	return &fake{size: size, fill: fill, pages: map[int64][]byte{}}
}

func (f *fake) page(n int64) []byte {
	if f.pages[n] == nil {
		f.pages[n] = bytes.Repeat([]byte{f.fill}, pageBytes)
	}
	return f.pages[n]
}

func (f *fake) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > f.size {
		return 0, io.EOF
	}
	for n := 0; n < len(b); {
		p := at + int64(n)
		n += copy(b[n:], f.page(p / pageBytes)[p%pageBytes:])
	}
	return len(b), nil
}

func (f *fake) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > f.size {
		return 0, fmt.Errorf("write of %d bytes at %d of %d", len(b), at, f.size)
	}
	f.written += int64(len(b))
	if f.loses == 0 || f.loses < at || f.loses >= at+int64(len(b)) {
		f.store(b, at)
	}
	if f.after != nil {
		f.after()
	}
	return len(b), nil
}

func (f *fake) store(b []byte, at int64) {
	for n := 0; n < len(b); {
		p := at + int64(n)
		n += copy(f.page(p / pageBytes)[p%pageBytes:], b[n:])
	}
}

func (f *fake) Size() int64    { return f.size }
func (f *fake) Sync() error    { return nil }
func (f *fake) Uncache() error { return nil }
func (f *fake) Zero(at, size int64) (bool, error) {
	if f.punches {
		f.store(make([]byte, size), at)
	}
	return f.punches, nil
}

func (f *fake) bytes(at, size int64) []byte {
	b := make([]byte, size)
	if _, err := f.ReadAt(b, at); err != nil {
		panic(err)
	}
	return b
}

// startsFrom says what of a disk firmware or a kernel could start from: a boot
// sector, a GPT at its start, one at its end.
func startsFrom(f *fake) string {
	if b := f.bytes(0, 512); b[510] == 0x55 && b[511] == 0xaa {
		return "MBR"
	}
	for _, at := range []int64{512, f.size - 512} {
		b := f.bytes(at, 92)
		sum := binary.LittleEndian.Uint32(b[16:])
		copy(b[16:20], make([]byte, 4))
		if string(b[:8]) == "EFI PART" && crc32.ChecksumIEEE(b) == sum {
			return fmt.Sprintf("GPT at %d", at)
		}
	}
	return ""
}

// sample makes an image: partition boot with a node config, a slot with data,
// an empty slot.
func sample(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "skerry-1.2.0-rpi4.img")
	i, err := disk.Create(name, disk.Layout{Seed: uuid.NameSpaceURL, Partitions: []disk.Spec{
		{Name: disk.Boot, Type: disk.EFISystem, Size: 64 * mib},
		{Name: disk.SlotA, Type: disk.LinuxData, Size: 24 * mib},
		{Name: disk.SlotB, Type: disk.LinuxData, Size: 24 * mib},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	tr := tree.New()
	must(t, tr.AddBytes("skerry.yaml", 0o644, []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n# mine\nhostname: of-the-image\n")))
	must(t, tr.AddBytes("kernel", 0o644, bytes.Repeat([]byte("kernel!"), 100_001)))
	must(t, i.MakeBoot(context.Background(), tr, fat.Options{Label: "SKERRY-BOOT", Time: time.Unix(1_700_000_000, 0)}))
	slot, err := os.Create(filepath.Join(t.TempDir(), "slot"))
	must(t, err)
	defer slot.Close()
	_, err = slot.WriteAt(bytes.Repeat([]byte("slot image"), 700_000), 0)
	must(t, err)
	_, err = slot.WriteAt([]byte("an island"), 20*mib+5)
	must(t, err)
	must(t, i.Fill(context.Background(), disk.SlotA, slot))
	return name
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs a program that the test compares with.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q (is it installed? run `make deps`): %v\n%s", name, args, err, out)
	}
	return string(out)
}

func packed(t testing.TB, image string) map[string]string {
	t.Helper()
	tool(t, "zstd", "-q", "-1", "-k", image, "-o", image+".zst")
	tool(t, "xz", "-0", "-k", image)
	return map[string]string{"img": image, "zst": image + ".zst", "xz": image + ".xz"}
}

// flashTo writes an image to a fake.
func flashTo(t testing.TB, dev Device, image string, o Options) (*Result, error) {
	t.Helper()
	i, err := Open(image, nil)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	o.Progress, o.Modified = progress.Discard(), time.Unix(1_800_000_000, 0)
	return Write(context.Background(), dev, i, o)
}
