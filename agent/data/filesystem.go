package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/agent/blockdev"
)

// Programs of the image, all from e2fsprogs.
const (
	mke2fs = "/usr/sbin/mke2fs"
	e2fsck = "/usr/sbin/e2fsck"
)

// Geometry of the file systems we make. Larger partitions get no larger blocks.
const (
	blockBytes   = 4096
	groupBlocks  = 32768
	backupOffset = groupBlocks * blockBytes // where the second superblock is
)

// state is what is to be done with a device.
type state int

const (
	ready      state = iota // holds data
	unfinished              // may be made, or made again
	damaged                 // holds data, but its first superblock is gone
	foreign                 // holds something else
)

// inspect says what a device holds. The order of writes in makeFileSystem and
// relabel is what makes the answers true after a power cut.
func inspect(dev io.ReaderAt, sizeBytes int64) (state, blockdev.Content, error) {
	c, err := blockdev.Probe(dev, sizeBytes)
	if err != nil {
		return foreign, c, err
	}
	switch e := c.Ext; {
	case e != nil && !e.EverMounted && strings.HasPrefix(e.Label, labelPrefix) && (e.Label == labelUnfinished || !e.SumValid):
		// Never mounted, so nothing is lost. A wrong sum is a label that was
		// being written when the power failed.
		return unfinished, c, nil
	case e != nil && (e.Label == Label || e.Label == labelUnfinished):
		return ready, c, nil
	case c.Type != blockdev.Blank && c.Type != blockdev.Unknown:
		return foreign, c, nil
	}
	// No signature. Flash that loses power in mid-write can lose a whole erase
	// block, and with it the first superblock; the second says whose the device was.
	backup := make([]byte, blockdev.ExtSuperblockBytes)
	if sizeBytes >= backupOffset+int64(len(backup)) {
		if _, err := dev.ReadAt(backup, backupOffset); err != nil {
			return foreign, c, fmt.Errorf("read the second superblock: %w", err)
		}
	}
	if e, ok := blockdev.ParseExt(backup); ok && e.Group == 1 && e.SumValid {
		switch e.Label {
		case Label:
			return damaged, c, nil
		case labelUnfinished:
			return unfinished, c, nil
		}
	}
	if c.Type == blockdev.Blank {
		return unfinished, c, nil
	}
	return foreign, c, nil
}

// fileSystem sees to it that the device holds a file system fit to be mounted,
// and returns its size in blocks.
func (p *preparation) fileSystem(ctx context.Context) (blocks int64, err error) {
	dev, err := p.System.Open(p.device.Node)
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	found, content, err := inspect(dev, p.device.SizeBytes)
	if err != nil {
		return 0, err
	}
	// What a fresh partition seems to hold is left from what was there before.
	if p.fresh && found == damaged || found == foreign && (p.Wipe || p.fresh) {
		found = unfinished
	}
	switch found {
	case foreign:
		return 0, fmt.Errorf("holds %s, which is left alone: take another disk, or add %s to the node config to have it overwritten", content, wipeLine)
	case unfinished:
		err = p.makeFileSystem(ctx, dev)
	case damaged:
		err = p.repair(ctx, "-b", strconv.Itoa(groupBlocks), "-B", strconv.Itoa(blockBytes))
	case ready:
		// A journal to be replayed is what every power cut leaves, and
		// mounting does that. Only what the kernel or we know to be wrong is
		// worth the time of e2fsck.
		if e := content.Ext; !e.Clean || e.Errors || !e.SumValid {
			err = p.check(ctx)
		}
	}
	if errors.Is(err, errBeyondRepair) && p.Wipe {
		err = p.makeFileSystem(ctx, dev)
	}
	if err != nil {
		return 0, err
	}
	e, err := superblock(dev)
	if err != nil {
		return 0, err
	}
	return e.Blocks * e.BlockBytes / blockBytes, nil
}

func superblock(dev io.ReaderAt) (blockdev.Ext, error) {
	b := make([]byte, blockdev.ExtSuperblockBytes)
	if _, err := dev.ReadAt(b, blockdev.ExtSuperblockOffset); err != nil {
		return blockdev.Ext{}, fmt.Errorf("read superblock: %w", err)
	}
	e, ok := blockdev.ParseExt(b)
	if !ok {
		return blockdev.Ext{}, errors.New("has no superblock after it was made or checked: the disk does not keep what is written")
	}
	return e, nil
}

// makeFileSystem makes an empty one and gives it its final label last. mke2fs
// writes the superblock when all else is on the medium, so a device where it was
// interrupted is blank at its start.
func (p *preparation) makeFileSystem(ctx context.Context, dev Disk) error {
	size := p.device.SizeBytes
	if size < MinBytes {
		return fmt.Errorf("has %d MiB, data needs %d MiB: use a larger disk", size/mib, MinBytes/mib)
	}
	p.Empty()
	p.Progress(fmt.Sprintf("making the data file system (%d MiB)", size/mib))
	if !p.fresh { // else they were cleared just now
		if err := clearSignatures(dev, 0, size); err != nil {
			return err
		}
	}
	if p.device.Partition == 0 {
		// A disk that had partitions: the kernel refuses it while it believes in them.
		if err := p.System.ForgetPartitions(p.device.Node); err != nil {
			p.Log.Warn("data", "problem", err)
		}
	}
	output, code, err := p.run(ctx, mke2fs, append(makeArguments(size), p.device.Node)...)
	if err == nil && code != 0 {
		err = fmt.Errorf("mke2fs failed with status %d: %s", code, output)
	}
	if err != nil {
		return fmt.Errorf("make file system: %w", err)
	}
	if err := relabel(dev, Label); err != nil {
		return err
	}
	p.result.Created = true
	return nil
}

// makeArguments are mke2fs's. Features are spelt out so that a changed default
// of mke2fs.conf changes nothing here.
func makeArguments(sizeBytes int64) []string {
	// A journal of the default size, up to a GiB, takes a minute to clear on
	// an SD card and brings nothing there.
	journalMiB := 128
	switch {
	case sizeBytes < 512*mib:
		journalMiB = 4
	case sizeBytes < 2048*mib:
		journalMiB = 16
	case sizeBytes < 16384*mib:
		journalMiB = 64
	}
	return []string{
		"-q", "-F", "-t", "ext4", "-L", labelUnfinished, "-e", "remount-ro",
		"-b", strconv.Itoa(blockBytes), "-I", "256",
		"-i", "16384", // files of unpacked container images are 30 KiB on average
		"-m", "1", // the reserve is for root, and here nearly everything is root
		"-J", fmt.Sprintf("size=%d", journalMiB),
		"-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
		// Inode tables are cleared by the kernel when it has time. The journal
		// is cleared now: the blocks of an older one in the same place, made
		// on the same day by the same steps, could be replayed after a power cut.
		// No discard: it takes unbounded time on some cards.
		// Room for group descriptors, which is cleared now too, is for a disk 16
		// times as large; beyond that the kernel finds other room for them.
		"-E", fmt.Sprintf("lazy_itable_init=1,lazy_journal_init=0,nodiscard,resize=%d", 16*sizeBytes/blockBytes),
	}
}

// clearSignatures writes zeros where [blockdev.Probe] looks, so that what was
// there is not found again after a power cut. It does not cover the second superblock.
// A new card is not worn by writing zeros over zeros.
func clearSignatures(dev Disk, start, size int64) error {
	zero := make([]byte, min(256<<10, size))
	old := make([]byte, len(zero))
	for _, at := range []int64{start, start + size - int64(len(zero))} {
		if _, err := dev.ReadAt(old, at); err == nil && bytes.Equal(old, zero) {
			continue
		}
		if _, err := dev.WriteAt(zero, at); err != nil {
			return fmt.Errorf("clear old signatures: %w", err)
		}
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("clear old signatures: %w", err)
	}
	return nil
}

// relabel changes the label of a file system that is not mounted, in all
// superblocks. The copies come first: when the first superblock says
// complete, so do those that e2fsck might restore it from.
func relabel(dev Disk, label string) error {
	e, err := superblock(dev)
	if err != nil {
		return err
	}
	offsets := []int64{}
	for group := int64(1); group*e.BlocksPerGroup+e.FirstBlock < e.Blocks; group++ {
		if !e.SparseSuper || hasCopy(group) {
			offsets = append(offsets, (group*e.BlocksPerGroup+e.FirstBlock)*e.BlockBytes)
		}
	}
	for _, batch := range [][]int64{offsets, {blockdev.ExtSuperblockOffset}} {
		for _, at := range batch {
			b := make([]byte, blockdev.ExtSuperblockBytes)
			if _, err := dev.ReadAt(b, at); err != nil {
				return fmt.Errorf("label the file system: %w", err)
			}
			if err := blockdev.SetExtLabel(b, label); err != nil {
				return fmt.Errorf("label the file system: superblock at byte %d: %w", at, err)
			}
			if _, err := dev.WriteAt(b, at); err != nil {
				return fmt.Errorf("label the file system: %w", err)
			}
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("label the file system: %w", err)
		}
	}
	return nil
}

// hasCopy says which groups have a copy of the superblock with sparse_super:
// 1 and the powers of 3, 5 and 7.
func hasCopy(group int64) bool {
	for _, base := range []int64{3, 5, 7} {
		power := int64(1)
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// run runs a program and returns the end of what it printed and its status.
func (p *preparation) run(ctx context.Context, name string, args ...string) (output string, status int, err error) {
	var out tail
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = p.Run(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return out.String(), exit.ExitCode(), nil
	}
	return out.String(), 0, err
}

// tail keeps the last KiB written to it: e2fsck can print a line a file.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if len(t.b) > 2048 {
		t.b = append(t.b[:0], t.b[len(t.b)-1024:]...)
	}
	return len(b), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b[max(0, len(t.b)-1024):])) }
