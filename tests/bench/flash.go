package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	flashBudget = "≤ 1.10× of dd"
	// usedBytes is the size of the disk, which was written to its end before.
	usedBytes = 2 << 30
)

// flashed are the measured runs of one image.
type flashed struct {
	image           string
	flash, dd, read []usage
	writing         []float64 // seconds that flash wrote
}

// measureFlash measures `builder flash` against dd for the same bytes: for an
// image that is data all over, and for one of a board, which mostly is not.
func measureFlash(ctx context.Context, s *session) error {
	w, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	b, err := w.build(ctx, "x86_64", filepath.Join(s.work, "flash-release"))
	if err != nil {
		return err
	}
	dense, disk := filepath.Join(s.work, "dense.img"), filepath.Join(s.work, "flash-disk")
	defer os.Remove(dense)
	defer os.Remove(disk)
	if err := fill(dense, b.file("img")); err != nil {
		return err
	}
	if err := random(disk, usedBytes); err != nil {
		return err
	}
	all := []flashed{{image: dense}, {image: b.file("img")}}
	for run := range s.runs {
		s.logf("flash, run %d of %d", run+1, s.runs)
		for i := range all {
			if err := all[i].turn(ctx, s, disk); err != nil {
				return err
			}
		}
	}
	writeFlash(s.page, all)
	return nil
}

// turn writes an image with both programs, and reads back what dd wrote, as flash
// does with what it writes.
func (f *flashed) turn(ctx context.Context, s *session, disk string) error {
	// Holes that flash left would be filled again by whoever comes next.
	if err := random(disk, usedBytes); err != nil {
		return err
	}
	u, err := s.command(ctx, s.work, nil, s.builder, "flash", "--yes", "--force", f.image, disk)
	if err != nil {
		return err
	}
	f.flash = append(f.flash, u)
	writing, err := stepTime(u.stderr, "write")
	if err != nil {
		return err
	}
	f.writing = append(f.writing, writing.Seconds())
	if err := random(disk, usedBytes); err != nil {
		return err
	}
	if u, err = s.command(ctx, s.work, nil, "dd", "if="+f.image, "of="+disk, "bs=4M", "oflag=direct", "conv=notrunc,fsync"); err != nil {
		return err
	}
	f.dd = append(f.dd, u)
	info, err := os.Stat(f.image)
	if err != nil {
		return err
	}
	u, err = s.command(ctx, s.work, nil, "sh", "-c", `dd if="$0" bs=4M iflag=direct count=$2 | cmp -n $3 - "$1"`,
		disk, f.image, fmt.Sprint((info.Size()+4<<20-1)/(4<<20)), fmt.Sprint(info.Size()))
	if err != nil {
		return err
	}
	f.read = append(f.read, u)
	return nil
}

func writeFlash(p *page, all []flashed) {
	p.heading(2, "Flash")
	p.paragraph("`builder flash` against `dd bs=4M oflag=direct conv=fsync` for the same bytes, onto a file of %s that was full of other bytes, both without the page cache; "+
		"runs of each: %d. Flash reads back and compares what it wrote, which dd does not: its writing stands by itself too, and beside dd what cmp takes.",
		mib(usedBytes), len(all[0].flash))
	var t table
	t.row("image", "what", "time", "processor", "peak memory", "budget", "of dd", "of dd and cmp")
	for i, f := range all {
		name := []string{"without holes", "of board x86_64"}[i]
		if info, err := os.Stat(f.image); err == nil {
			name += ", " + mib(float64(info.Size()))
		}
		dd, read := median(pick(f.dd, usage.seconds)), median(pick(f.read, usage.seconds))
		add := func(what, budget string, runs []usage) {
			took := median(pick(runs, usage.seconds))
			t.row(append(append([]string{name, what}, columns(runs)...), budget, ratio(took, dd), ratio(took, dd+read))...)
		}
		add("builder flash", "", f.flash)
		writing := median(f.writing)
		t.row(name, "– its writing", seconds(f.writing), "", "", flashBudget, ratio(writing, dd), "")
		add("dd", "", f.dd)
		add("cmp of what dd wrote", "", f.read)
	}
	t.write(p)
}

// stepTime finds how long a step took in what a builder said of its steps.
func stepTime(said, step string) (time.Duration, error) {
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(line, step+": "); ok {
			text, _, _ := strings.Cut(strings.TrimSpace(rest), ",")
			return time.ParseDuration(strings.ReplaceAll(strings.Replace(text, "min", "m", 1), " ", ""))
		}
	}
	return 0, fmt.Errorf("no step %q in %q", step, said)
}

// random makes a file of so many bytes that do not compress and have no zeros in
// a row, over what was in it.
func random(name string, bytes int64) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.CopyN(file, rand.NewChaCha8([32]byte{}), bytes); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}

// fill makes an image of the size and with the partition table of another one, and
// without holes.
func fill(name, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	if err := random(name, info.Size()); err != nil {
		return err
	}
	in, err := os.Open(like)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	table := make([]byte, 1<<20) // on both ends
	for _, at := range []int64{0, info.Size() - int64(len(table))} {
		if _, err := in.ReadAt(table, at); err != nil {
			return err
		}
		if _, err := out.WriteAt(table, at); err != nil {
			return err
		}
	}
	return out.Close()
}
