//go:build system

package tests

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/tests/machine"
)

// cut is a moment at which the plug is pulled: some time after a line. What
// the guest has written to its disk by then stays, as on a disk without a cache
// of its own; disks that lose and reorder writes are simulated in the tests of
// package data.
type cut struct {
	line  string
	delay time.Duration
}

// at is a cut with a random part of the delay.
func (c cut) at(random *rand.Rand) cut {
	if c.delay > 0 {
		c.delay = time.Duration(random.Int64N(int64(c.delay)))
	}
	return c
}

// Lines of a first boot.
const (
	kernelStarts = `EFI stub: `
	writesTable  = `^skerry: data: writing the partition table$`
	makesData    = `^skerry: data: making the data file system`
	mountsDone   = `^phase mounts .*: done`
	networkDone  = `^phase network .*: done`
	watchdogDone = `^phase watchdog .*: done`
	storageDone  = `^phase storage .*: done`
	servicesDone = `^phase services .*: done`
	nodeIsUp     = `^skerry: node up: `
)

// The plug is pulled at a dozen moments of a first boot, each time on a disk that
// was flashed just now. The next boot must come up whole.
func TestPowerCutsDuringTheFirstBootAreSurvived(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 4)) // the same delays in every run
	for i, c := range []cut{
		{kernelStarts, 5 * time.Second},
		{writesTable, 0},
		{writesTable, 300 * time.Millisecond},
		{makesData, 0},
		{makesData, 300 * time.Millisecond},
		{makesData, 800 * time.Millisecond},
		{mountsDone, 0},
		{networkDone, 0},
		{watchdogDone, 500 * time.Millisecond},
		{storageDone, 0},
		{servicesDone, 0},
		{nodeIsUp, 3 * time.Second},
	} {
		c := c.at(random)
		t.Run(fmt.Sprintf("moment %d", i+1), func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, "x86_64")
			cutPower(t, d, c)
			up := recovers(t, d)
			if slices.Contains([]string{storageDone, servicesDone, nodeIsUp}, c.line) {
				wantLine(t, up.Lines, nodeLine+`2$`) // the identity of the first boot
			}
		})
	}
}

// cutPower boots a machine and pulls its plug.
func cutPower(t *testing.T, d machine.Disk, c cut) {
	t.Helper()
	m := boot(t, d)
	if line := m.Expect(c.line + "|" + nodeIsUp); c.line != nodeIsUp && strings.HasPrefix(line[0], "skerry: node up") {
		t.Fatalf("the node came up, and never said %q\n%s", c.line, m.Tail(20))
	}
	time.Sleep(c.delay)
	m.Kill()
	t.Logf("the plug was pulled after: %s", strings.Join(last(m.Lines(), 1), ""))
}

// recovers boots a machine that lost power and looks whether all is well.
func recovers(t *testing.T, d machine.Disk) machine.Up {
	t.Helper()
	m := boot(t, d)
	up := m.ExpectUp()
	refuseLine(t, up.Lines, `: failed: |^skerry: problem: (data|identity|config)`)
	wantLine(t, up.Lines, `^  data +/dev/vda4, `)
	m.PowerOff()
	d.CheckTable()
	d.CheckData()
	return up
}

// last returns the last n of lines.
func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
