//go:build system && soak

package tests

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// cut is a moment at which the plug is pulled: some time after a line. What
// the guest has written to its disk by then stays, as on a disk without a cache
// of its own; disks that lose and reorder writes are simulated in the tests of
// package data.
type cut struct {
	line  string
	delay time.Duration // at the most; a random part of it is waited
}

// Lines of a first boot.
const (
	kernelStarts = `EFI stub: `
	writesTable  = `^skerry: data: writing the partition table$`
	makesData    = `^skerry: data: making the data file system`
	mountsDone   = `^phase mounts .*: done`
	networkDone  = `^phase network .*: done`
	servicesDone = `^phase services .*: done`
	nodeIsUp     = `^skerry: node up: `
)

// The plug is pulled ten times before a node was ever switched off in order:
// each of five disks loses power twice, the second time at a later moment and
// while the node recovers from the first.
func TestPowerCutsDuringTheFirstBootAreSurvived(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 4)) // the same delays in every run
	for i, cuts := range [][]cut{
		{{kernelStarts, 5 * time.Second}, {makesData, 0}},
		{{writesTable, 0}, {makesData, 500 * time.Millisecond}},
		{{writesTable, 300 * time.Millisecond}, {mountsDone, 0}},
		{{makesData, 300 * time.Millisecond}, {networkDone, 0}},
		{{servicesDone, 0}, {nodeIsUp, 3 * time.Second}},
	} {
		t.Run(fmt.Sprintf("disk %d", i+1), func(t *testing.T) {
			timed(t)
			d := flashed(t, "x86_64")
			for _, c := range cuts {
				m := boot(t, d)
				if line := m.Expect(c.line + "|" + nodeIsUp); c.line != nodeIsUp && strings.HasPrefix(line[0], "skerry: node up") {
					t.Fatalf("the node came up, and never said %q\n%s", c.line, m.Tail(20))
				}
				if c.delay > 0 {
					time.Sleep(time.Duration(random.Int64N(int64(c.delay))))
				}
				m.Kill()
				t.Logf("the plug was pulled after: %s", strings.Join(last(m.Lines(), 1), ""))
			}
			m := boot(t, d)
			up := m.ExpectUp()
			refuseLine(t, up.Lines, `: failed: |^skerry: problem: (data|identity|config)`)
			wantLine(t, up.Lines, `^  data +/dev/vda4, `)
			m.PowerOff()
			d.CheckTable()
			d.CheckData()
		})
	}
}

// last returns the last n of lines.
func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }
