//go:build system

package tests

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

func TestNodeComesUpAndThePowerButtonSwitchesItOff(t *testing.T) {
	for _, tc := range []struct{ board, goarch, bus string }{
		{"x86_64", "amd64", "virtio"},
		{"x86_64", "amd64", "nvme"},
		{"x86_64", "amd64", "ahci"},
		{"x86_64", "amd64", "usb"},
		{"arm64", "arm64", "virtio"},
	} {
		t.Run(tc.board+" "+tc.bus, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, tc.board)
			m := machine.Start(t, qemu.Machine{GOARCH: tc.goarch, Disk: d.Path, Bus: tc.bus})
			up := m.ExpectUp()
			if up.Version != version || up.Slot != "A" {
				t.Errorf("release %s in slot %s is up, not release %s in slot A", up.Version, up.Slot, version)
			}
			if !strings.HasPrefix(up.Hostname, strings.ReplaceAll(tc.board, "_", "-")+"-") {
				t.Errorf("the default hostname is %s: it should be board and MAC", up.Hostname)
			}
			if !slices.Contains(strings.Split(up.Addresses, ","), "10.0.2.15") { // what QEMU's DHCP gives
				t.Errorf("addresses: %s", up.Addresses)
			}
			wantLine(t, up.Lines, `^  watchdog +i6300ESB timer, \d+ s$`)
			wantLine(t, up.Lines, `^  data +/dev/\S+4, .* of .*iB used$`)
			wantLine(t, up.Lines, `^  services +heartbeat ready`)
			refuseLine(t, up.Lines, `: failed: |^skerry: problem: `)
			if last := up.Lines[len(up.Lines)-2]; !bootTimes.MatchString(last) {
				t.Errorf("before the last line comes %q, not where the time went", last)
			}
			m.PowerOff()
			d.CheckTable()
			d.CheckData()
		})
	}
}

// bootTimes is the line that says where the time of a boot went.
var bootTimes = regexp.MustCompile(`^boot: kernel \d+\.\d\d s, agent \d+\.\d\d s, network \d+\.\d\d s, services \d+\.\d\d s$`)

func TestNodeStaysTheSameOverRestarts(t *testing.T) {
	for _, tc := range []struct{ board, goarch string }{
		{"x86_64", "amd64"},
		{"arm64", "arm64"},
	} {
		t.Run(tc.board, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, tc.board)
			m := machine.Start(t, qemu.Machine{GOARCH: tc.goarch, Disk: d.Path})
			up := m.ExpectUp()
			first := wantLine(t, up.Lines, nodeLine+`1$`)
			for _, boot := range []string{"2", "3"} {
				m.CtrlAltDel()
				up = m.ExpectUp()
				next := wantLine(t, up.Lines, nodeLine+boot+`$`)
				if first != nil && next != nil && next[1] != first[1] {
					t.Errorf("the node was %s and is %s", first[1], next[1])
				}
				refuseLine(t, up.Lines, `making the data file system|writing the partition table|: failed: |^skerry: problem: identity`)
			}
			m.PowerOff()
			d.CheckTable()
			d.CheckData()
		})
	}
}

// nodeLine is the line with the node's identity, up to the number of its boots.
const nodeLine = `^  node +([0-9a-f]{32}), boot `

// wantLine returns the groups of the first line that a pattern matches. If
// there is none the test has failed, and goes on.
func wantLine(t testing.TB, lines []string, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for _, line := range lines {
		if groups := re.FindStringSubmatch(line); groups != nil {
			return groups
		}
	}
	t.Errorf("no line matches %q:\n%s", pattern, strings.Join(lines, "\n"))
	return nil
}

// refuseLine fails the test for every line that a pattern matches.
func refuseLine(t testing.TB, lines []string, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for _, line := range lines {
		if re.MatchString(line) {
			t.Errorf("unexpected: %s", line)
		}
	}
}
