package data

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Exit status of e2fsck, bits (e2fsck(8)). Corrected errors and the wish for a
// reboot, which only matters for mounted file systems, are success.
const fsckCorrected = 1 | 2

var errBeyondRepair = errors.New("the file system cannot be repaired: replace the disk, or add " + wipeLine + " to the node config to start with empty data")

// check runs e2fsck on a file system known to be wrong. What it can correct
// without losing anything it does by itself (-p); it checks everything, since the
// state of the superblock says so. When that is not enough, repair goes on.
func (p *preparation) check(ctx context.Context) error {
	p.Progress("checking the data file system")
	p.result.Checked = true
	output, status, err := p.run(ctx, e2fsck, "-p", p.device.Node)
	if err != nil {
		return fmt.Errorf("check file system: %w", err)
	}
	if status&^fsckCorrected == 0 {
		return nil
	}
	p.Log.Warn("e2fsck cannot correct the data file system without losses", "status", status, "output", output)
	return p.repair(ctx)
}

// repair lets e2fsck do what it wants: there is nobody to ask, and a node that
// waits for an answer is worse off than one that lost the files that were
// damaged anyway. What it finds without a name goes to lost+found. Options
// choose the superblock.
func (p *preparation) repair(ctx context.Context, options ...string) error {
	p.Progress("repairing the data file system")
	p.result.Checked = true
	args := append(append([]string{"-y", "-f"}, options...), p.device.Node)
	// A repair can uncover more to be repaired.
	for range 2 {
		output, status, err := p.run(ctx, e2fsck, args...)
		if err != nil {
			return fmt.Errorf("repair file system: %w", err)
		}
		if status&^fsckCorrected == 0 {
			p.problem(errors.New("the data file system was damaged and is repaired: files may be missing or be in lost+found; check the disk"))
			return nil
		}
		p.Log.Warn("e2fsck left errors", "status", status, "output", output)
		args = []string{"-y", "-f", p.device.Node}
	}
	return errBeyondRepair
}

// mount mounts the file system. One that looked well but cannot be mounted is
// repaired once.
func (p *preparation) mount(ctx context.Context) error {
	err := p.System.Mount(p.device.Node, p.MountPoint)
	if err == nil || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) {
		return err
	}
	p.Log.Warn("data cannot be mounted", "error", err)
	if err := p.repair(ctx); err != nil {
		return err
	}
	return p.System.Mount(p.device.Node, p.MountPoint)
}

// growFileSystem has the file system take the whole partition, when that is at
// least 16 MiB larger. The kernel does it while it is mounted, through the
// journal. If it cannot, the node works with what there is.
func (p *preparation) growFileSystem(blocks int64) {
	want := p.device.SizeBytes / blockBytes
	if want-blocks < 16*mib/blockBytes {
		return
	}
	p.Progress(fmt.Sprintf("growing the data file system to %d MiB", p.device.SizeBytes/mib))
	if err := p.System.GrowMounted(p.MountPoint, want); err != nil {
		p.problem(err)
		return
	}
	p.result.Grown = true
}
