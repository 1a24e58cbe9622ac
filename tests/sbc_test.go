//go:build system

package tests

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	agentslot "github.com/skerry-os/skerry/agent/slot"
	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/bootscript"
	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/fat"
	"github.com/skerry-os/skerry/tests/machine"
	"github.com/skerry-os/skerry/ubootenv"
)

// Here images of boards with U-Boot run as they are: with their own boot.scr,
// their own slots and Debian's kernel, on QEMU's machine virt with Debian's U-Boot
// for it. Blobs and devices of the boards are not tested.

// sbc starts the machine of a board with U-Boot.
func sbc(t testing.TB, name string, d machine.Disk) *machine.Machine {
	t.Helper()
	b := loadBoard(t, name)
	options := qemu.Machine{GOARCH: b.Architecture, Disk: d.Path}
	builder.ForBoard(&options, b)
	return machine.Start(t, options)
}

func loadBoard(t testing.TB, name string) *board.Board {
	t.Helper()
	source, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	b, err := board.Load(os.DirFS(source), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// partitionOf returns where a partition of the image is.
func partitionOf(t testing.TB, path, name string) disk.Partition {
	t.Helper()
	image, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	p, err := image.Partition(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fatArea opens the FAT file system at the start of a partition of an image, and
// what writes to it.
func fatArea(t testing.TB, path, partition string) (*fat.FS, io.WriterAt) {
	t.Helper()
	p := partitionOf(t, path, partition)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	area, err := fat.Open(io.NewSectionReader(file, p.Offset, p.Size), p.Size)
	if err != nil {
		t.Fatal(err)
	}
	return area, io.NewOffsetWriter(file, p.Offset)
}

// fillSlotB copies slot A to slot B, as an update would with another release.
func fillSlotB(t testing.TB, d machine.Disk) {
	t.Helper()
	a, b := partitionOf(t, d.Path, disk.SlotA), partitionOf(t, d.Path, disk.SlotB)
	source, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for at := a.Offset; at < a.Offset+a.Size; {
		start, end, err := disk.NextData(source, at, a.Offset+a.Size)
		if err != nil {
			t.Fatal(err)
		}
		for start < end {
			n := min(end-start, 16<<20)
			d.Write(start-a.Offset+b.Offset, d.Read(start, int(n)))
			start += n
		}
		at = end
	}
}

// damage changes a bit in the middle of a file in a slot's boot area.
func damage(t testing.TB, d machine.Disk, slot, name string) {
	t.Helper()
	area, writer := fatArea(t, d.Path, slot)
	contents, err := area.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	contents[len(contents)/2] ^= 1
	if err := area.Replace(writer, name, contents, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
}

// agentOn is what the agent does to the boot state of a disk while slot A runs.
func agentOn(t testing.TB, d machine.Disk, board string) agentslot.UBoot {
	return agentslot.UBoot{
		Running: agentslot.Slot{Letter: agentslot.A, Version: version},
		Layout:  loadBoard(t, board).Bootloader.Layout(),
		Open:    func() (agentslot.StateDisk, error) { return agentslot.OpenInPlace(d.Path) },
	}
}

var slotB = agentslot.Slot{Letter: agentslot.B, Version: version}

func TestImagesOfBoardsWithUBootComeUp(t *testing.T) {
	for _, name := range []string{"rock64", "pine64_plus"} {
		t.Run(name, func(t *testing.T) {
			timed(t)
			d := flashed(t, name)
			m := sbc(t, name, d)
			m.Expect(`^skerry: booting A: `)
			up := m.ExpectUp()
			if up.Version != version || up.Slot != "A" {
				t.Errorf("release %s in slot %s is up, not release %s in slot A", up.Version, up.Slot, version)
			}
			if !strings.HasPrefix(up.Hostname, strings.ReplaceAll(name, "_", "-")+"-") {
				t.Errorf("the default hostname is %s: it should be board and MAC", up.Hostname)
			}
			wantLine(t, up.Lines, `^  data +/dev/\S+4, .* of .*iB used$`)
			wantLine(t, up.Lines, `^  services +heartbeat ready`)
			refuseLine(t, up.Lines, `: failed: |^skerry: problem: `)
			m.PowerOff()
			d.CheckTable()
			d.CheckData()
			if _, r := readState(t, d.Path, loadBoard(t, name).Bootloader.Layout()); r.Problem() != nil || r.OK != "A" || r.Try != "" {
				t.Errorf("a normal boot changed the boot state: %+v", r)
			}
		})
	}
}

func TestTrialOfASlotOfAnImageIsBootedOnceAndCommitted(t *testing.T) {
	timed(t)
	const name = "rock64"
	d := flashed(t, name)
	fillSlotB(t, d)
	agent := agentOn(t, d, name)
	if err := agent.Try(slotB); err != nil {
		t.Fatal(err)
	}
	m := sbc(t, name, d)
	m.Expect(`^skerry: booting trial: .* skerry.booted=B skerry.trial=1$`)
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^  release .* slot B, on trial`)
	if up.Slot != "B" {
		t.Errorf("slot %s runs the trial of slot B", up.Slot)
	}
	m.CtrlAltDel()
	m.Expect(`^skerry: booting A: `)
	if up = m.ExpectUp(); up.Slot != "A" {
		t.Errorf("slot %s runs after a trial that was not committed", up.Slot)
	}
	m.PowerOff()
	if err := agent.Commit(slotB); err != nil {
		t.Fatal(err)
	}
	m = sbc(t, name, d)
	m.Expect(`^skerry: booting B: `)
	if up = m.ExpectUp(); up.Slot != "B" {
		t.Errorf("slot %s runs after slot B was committed", up.Slot)
	}
	refuseLine(t, up.Lines, `: failed: |^skerry: problem: |on trial`)
}

func TestSlotsOfAnImageWithDamagedFilesAreNotStarted(t *testing.T) {
	for _, tc := range []struct {
		name        string
		slot, file  string
		try, spoil  bool
		damaged, up string // slots
	}{
		{name: "kernel of the default, and a copy of the state", slot: disk.SlotA, file: bootscript.Kernel, spoil: true, damaged: "A", up: "B"},
		{name: "initramfs of the trial", slot: disk.SlotB, file: bootscript.Initramfs, try: true, damaged: "B", up: "A"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timed(t)
			const name = "rock64"
			d := flashed(t, name)
			fillSlotB(t, d)
			if tc.try {
				if err := agentOn(t, d, name).Try(slotB); err != nil {
					t.Fatal(err)
				}
			}
			damage(t, d, tc.slot, tc.file)
			at := loadBoard(t, name).Bootloader.Layout().Offsets[1]
			if tc.spoil {
				d.Write(at, make([]byte, ubootenv.Size))
			}
			m := sbc(t, name, d)
			if tc.spoil {
				m.Expect(fmt.Sprintf("^skerry: the copy of the boot state at block %x is broken$", at/512))
			}
			m.Expect("^skerry: " + tc.file + " of slot " + tc.damaged + " is damaged$")
			m.Expect("^skerry: slot " + tc.damaged + " cannot be booted$")
			up := m.ExpectUp()
			if up.Slot != tc.up {
				t.Errorf("slot %s is up, not %s", up.Slot, tc.up)
			}
			if tc.spoil {
				wantLine(t, up.Lines, fmt.Sprintf(`^skerry: problem: boot state: copy 2 of the U-Boot state, at byte %d: `, at))
			}
		})
	}
}
