package flash

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/progress"
)

func TestDiskBecomesTheImageByteForByte(t *testing.T) {
	image := sample(t)
	want, err := os.ReadFile(image)
	must(t, err)
	for form, name := range packed(t, image) {
		for _, more := range []int64{0, 512, 40 * mib} {
			dev := newFake(int64(len(want))+more, 0x5a)
			dev.punches = more == 512
			r, err := flashTo(t, dev, name, Options{})
			if err != nil {
				t.Errorf("%s, %d more: %v", form, more, err)
				continue
			}
			if !bytes.Equal(dev.bytes(0, int64(len(want))), want) {
				t.Errorf("%s, %d more: the disk differs", form, more)
			}
			if r.Map.Size != int64(len(want)) || r.KeptData {
				t.Errorf("%s, %d more: %+v", form, more, r)
			}
			// What is behind the place of a signature is not touched.
			if more > 2*mib && dev.bytes(int64(len(want))+clearBytes, 1)[0] != 0x5a {
				t.Errorf("%s: the space behind the image was written", form)
			}
		}
	}
}

func TestStandardInputIsWritten(t *testing.T) {
	image := sample(t)
	want, err := os.ReadFile(image)
	must(t, err)
	for _, name := range packed(t, image) {
		b, err := os.ReadFile(name)
		must(t, err)
		i, err := Open("-", bytes.NewReader(b))
		must(t, err)
		dev := newFake(int64(len(want)), 0)
		if _, err := Write(context.Background(), dev, i, Options{Progress: progress.Discard()}); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(dev.bytes(0, dev.size), want) {
			t.Errorf("%s: the disk differs", name)
		}
	}
}

func TestHolesAreNotWrittenToABlankDisk(t *testing.T) {
	image := sample(t)
	for form, name := range packed(t, image) {
		dev := newFake(200*mib, 0)
		r, err := flashTo(t, dev, name, Options{})
		must(t, err)
		// The first block is written twice: at first with zeros.
		if most := r.Map.Bytes() + 2*firstBytes; dev.written > most || r.Map.Bytes() > 12*mib {
			t.Errorf("%s: %d bytes written of %d that are data", form, dev.written, r.Map.Bytes())
		}
	}
}

func TestNoStateBeforeTheEndStarts(t *testing.T) {
	image := sample(t)
	want, err := os.ReadFile(image)
	must(t, err)
	for _, fill := range []byte{0, 0x5a} {
		dev := newFake(int64(len(want)), fill)
		// An earlier installation of the same size: with both of its tables.
		dev.store(want[:mib], 0)
		dev.store(want[len(want)-mib:], int64(len(want)-mib))
		if startsFrom(dev) == "" {
			t.Fatal("the test sees no table where there is one")
		}
		var states []string
		complete := 0
		dev.after = func() {
			states = append(states, startsFrom(dev))
			if complete == 0 && len(states) > 3 && states[len(states)-1] != "" && bytes.Equal(dev.bytes(mib, int64(len(want))-2*mib), want[mib:len(want)-mib]) {
				complete = len(states)
			}
		}
		_, err = flashTo(t, dev, image, Options{})
		must(t, err)
		// The first write clears the first block; the backup goes in one of the next.
		for n, starts := range states[2 : len(states)-1] {
			if starts != "" && (n+3 < complete || starts == "MBR") {
				t.Errorf("after write %d of %d (complete after %d) it starts from %s", n+3, len(states), complete, starts)
			}
		}
		if last := states[len(states)-1]; last != "MBR" {
			t.Errorf("at the end there is %q", last)
		}
		if slices.Contains(states[:1], "MBR") {
			t.Error("the first write leaves the boot sector")
		}
	}
}

func TestConfigIsInPlaceBeforeTheFirstBlock(t *testing.T) {
	image := sample(t)
	edit, err := NodeConfig{Hostname: "shop-17"}.Edit()
	must(t, err)
	dev := newFake(160*mib, 0x5a)
	var first, states int
	edited := func(old []byte) ([]byte, error) {
		first = states
		return edit(old)
	}
	started := 0
	dev.after = func() {
		states++
		if started == 0 && states > 1 && startsFrom(dev) != "" {
			started = states
		}
	}
	_, err = flashTo(t, dev, image, Options{Config: edited})
	must(t, err)
	if first == 0 || started <= first || started != states {
		t.Errorf("config after write %d, it starts after write %d, of %d", first, started, states)
	}
	name := filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(name, dev.bytes(0, dev.size), 0o600))
	got := tool(t, "mtype", "-i", name+"@@1M", "::skerry.yaml")
	if want := "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n# mine\nhostname: shop-17\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	tool(t, "dd", "if="+name, "of="+name+".boot", "bs=1M", "skip=1", "count=64")
	tool(t, "fsck.fat", "-n", name+".boot")
}

func TestMediumThatLosesWritesIsFound(t *testing.T) {
	image := sample(t)
	edit, err := NodeConfig{Hostname: "shop-17"}.Edit()
	must(t, err)
	for what, at := range map[string]int64{"slot": 70 * mib, "partition boot": mib + 3, "first block": 513, "backup": 114*mib - 1} {
		dev := newFake(160*mib, 0x5a)
		dev.loses = at
		if what == "first block" { // there from the start, so that it can be lost at the end only
			dev.fill = 0
		}
		_, err := flashTo(t, dev, image, Options{Config: edit})
		var unfinished *UnfinishedError
		if !errors.As(err, &unfinished) || !strings.Contains(err.Error(), "not what was written") || !strings.Contains(err.Error(), "flash it again") {
			t.Errorf("%s: %v", what, err)
		}
		if starts := startsFrom(dev); starts != "" {
			t.Errorf("%s: it starts from %s", what, starts)
		}
	}
}

func TestInterruptionLeavesNothingThatStarts(t *testing.T) {
	image := sample(t)
	for _, at := range []int{1, 2, 3, 5, 8} {
		ctx, cancel := context.WithCancel(context.Background())
		dev := newFake(160*mib, 0x5a)
		writes := 0
		dev.after = func() {
			if writes++; writes == at {
				cancel()
			}
		}
		i, err := Open(image, nil)
		must(t, err)
		_, err = Write(ctx, dev, i, Options{Progress: progress.Discard()})
		i.Close()
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "first block of the disk is zero") {
			t.Errorf("after write %d: %v", at, err)
		}
		if !bytes.Equal(dev.bytes(0, firstBytes), make([]byte, firstBytes)) {
			t.Errorf("after write %d: the first block is not zero", at)
		}
	}
}

func TestDamagedPackedImageLeavesNothingThatStarts(t *testing.T) {
	for form, name := range packed(t, sample(t)) {
		if form == "img" {
			continue
		}
		whole, err := os.ReadFile(name)
		must(t, err)
		cut := whole[:len(whole)*2/3]
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 0xff
		for what, b := range map[string][]byte{"cut": cut, "flipped": flipped} {
			must(t, os.WriteFile(name, b, 0o600))
			dev := newFake(160*mib, 0)
			_, err := flashTo(t, dev, name, Options{})
			if err == nil || !strings.Contains(err.Error(), "is the file complete?") {
				t.Errorf("%s %s: %v", form, what, err)
			}
			if starts := startsFrom(dev); starts != "" {
				t.Errorf("%s %s: it starts from %s", form, what, starts)
			}
		}
	}
}

func TestWhatDoesNotFitOrIsNoImageIsRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	must(t, os.WriteFile(text, []byte(strings.Repeat("no image\n", 1000)), 0o600))
	empty := filepath.Join(dir, "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	dev := newFake(160*mib, 0x5a)
	for _, name := range []string{text, empty} {
		if _, err := flashTo(t, dev, name, Options{}); err == nil || !strings.Contains(err.Error(), "no partition table") {
			t.Errorf("%s: %v", name, err)
		}
	}
	zip := filepath.Join(dir, "gz")
	must(t, os.WriteFile(zip, []byte("\x1f\x8b and more"), 0o600))
	if _, err := flashTo(t, dev, zip, Options{}); err == nil || !strings.Contains(err.Error(), "gzip -d") {
		t.Errorf("gzip: %v", err)
	}
	if dev.written != 0 {
		t.Errorf("%d bytes were written all the same", dev.written)
	}
	for form, name := range packed(t, sample(t)) {
		dev := newFake(100*mib, 0)
		_, err := flashTo(t, dev, name, Options{})
		if err == nil || !strings.Contains(err.Error(), "use a larger disk") || startsFrom(dev) != "" {
			t.Errorf("%s: %v, starts from %q", form, err, startsFrom(dev))
		}
		if form != "xz" && dev.written != 0 { // xz has no size at its start
			t.Errorf("%s: %d bytes were written all the same", form, dev.written)
		}
	}
}

func TestDataOfANodeIsKeptAndOthersSignaturesGo(t *testing.T) {
	image := sample(t)
	info, err := os.Stat(image)
	must(t, err)
	behind := info.Size()
	made := func(label string, size int64) []byte {
		name := filepath.Join(t.TempDir(), "fs")
		must(t, os.WriteFile(name, nil, 0o600))
		must(t, os.Truncate(name, size))
		cmd := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", label, name)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(name)
		must(t, err)
		return b
	}
	ours, others := made("skerry-data", 140*mib), made("photos", 8*mib)
	lost := bytes.Clone(ours)
	copy(lost, make([]byte, mib))
	for what, c := range map[string]struct {
		contents []byte
		kept     bool
	}{"data": {ours, true}, "data without its first superblock": {lost, true}, "another's": {others, false}} {
		dev := newFake(behind+141*mib, 0)
		dev.store(c.contents, behind)
		dev.store([]byte("EFI PART"), dev.size-512)
		r, err := flashTo(t, dev, image, Options{})
		must(t, err)
		same := bytes.Equal(dev.bytes(behind, int64(len(c.contents))), c.contents)
		if r.KeptData != c.kept || same != c.kept {
			t.Errorf("%s: kept %v, the same %v", what, r.KeptData, same)
		}
		if string(dev.bytes(dev.size-512, 8)) == "EFI PART" {
			t.Errorf("%s: a stale backup table is left at the end", what)
		}
	}
}
