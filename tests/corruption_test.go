//go:build system

package tests

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/skerry-os/skerry/tests/machine"
	"github.com/skerry-os/skerry/verity"
)

// blockBytes is the size of the blocks of the root and of its hash tree.
const blockBytes = 4096

func TestImageWithOneBitFlippedInAModuleRefusesToReadIt(t *testing.T) {
	t.Parallel()
	timed(t)
	i := built(t, "x86_64")
	d := flashed(t, "x86_64")
	// Nothing else needs it, and the node config has it loaded before the node is up.
	module := "/usr/lib/modules/" + i.manifest.Kernel + "/kernel/net/bridge/br_netfilter.ko"
	offset := extent(t, i, module)
	flipInSlot(t, d, offset+100)
	d.WriteConfig(header + "kernel: {modules: [br_netfilter]}\n")
	m := boot(t, d)
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^phase modules .*: failed: .*br_netfilter`)
	wantLine(t, up.Lines, fmt.Sprintf(`^skerry: problem: root: slot A: block %d of the root is corrupt: read refused; `, offset/blockBytes))
}

func TestImageWithOneBitFlippedDoesNotBootAndStartsAgain(t *testing.T) {
	i := built(t, "x86_64")
	params, err := verity.ParseParams(i.manifest.Verity)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		where   string
		offset  int64 // from the start of the slot
		message string
	}{
		{"the superblock of the root", params.Root + 1024, `mount the root of slot A on /dev/vda2`},
		{"the top of the hash tree", params.Tree, `no partition holds its root; .*/dev/vda2 \(slot-a\), \d+ MiB: holds another release or none`},
	} {
		t.Run(tc.where, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, "x86_64")
			flipInSlot(t, d, tc.offset)
			m := boot(t, d)
			expectRestart(m, tc.message)
		})
	}
}

func TestDiskWithoutSlotsIsNamedAndTheNodeStartsAgain(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	machine.Run(t, "sgdisk", "-d", "2", "-d", "3", d.Path)
	expectRestart(boot(t, d), `no partition holds its root; .*/dev/vda, \d+ MiB: disk; /dev/vda1 \(boot\), \d+ MiB: not a slot`)
}

// expectRestart waits for the message of a boot that cannot go on, and for the
// next attempt.
func expectRestart(m *machine.Machine, message string) {
	m.Expect(`^skerry: this boot cannot go on: .*` + message)
	m.Expect(`^skerry: restarting in `)
	m.Expect(kernelStarts)
}

// flipInSlot changes one bit at an offset from the start of slot A.
func flipInSlot(t *testing.T, d machine.Disk, offset int64) {
	t.Helper()
	start, bytes, ok := d.Partition(machine.PartitionSlotA)
	if !ok || offset >= bytes {
		t.Fatalf("byte %d of slot A is not on the disk", offset)
	}
	d.FlipBit(start + offset)
}

// firstExtent is the first line of dump.erofs's table of extents.
var firstExtent = regexp.MustCompile(`(?m)^ +0: .*: +(\d+)\.\. *\d+ +\| +\d+ *$`)

// extent returns where the first bytes of a file of the root are, from the
// start of the slot image.
func extent(t *testing.T, i image, name string) int64 {
	t.Helper()
	text := machine.Run(t, "dump.erofs", "--path="+name, "-e", i.file("slot"))
	groups := firstExtent.FindStringSubmatch(text)
	if groups == nil {
		t.Fatalf("dump.erofs names no extent of %s:\n%s", name, text)
	}
	offset, err := strconv.ParseInt(groups[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}
