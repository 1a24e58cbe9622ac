//go:build system

package tests

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

func TestNodeWithoutNetworkComesUpAndSaysSo(t *testing.T) {
	for _, tc := range []struct {
		name  string
		extra []string
	}{
		{"no card", nil},
		// A hub with nothing else on it: nobody answers.
		{"no DHCP server", []string{"-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-pci,netdev=net"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, "x86_64")
			m := machine.Start(t, qemu.Machine{GOARCH: "amd64", Disk: d.Path, NoNetwork: true, Extra: tc.extra})
			up := m.ExpectUp()
			wantLine(t, up.Lines, `^phase network .*: failed: .*, check the cable`)
			wantLine(t, up.Lines, `^skerry: problem: network: `)
			wantLine(t, up.Lines, `^  network +(no address|fe80::[0-9a-f:]+/64)$`)
			wantLine(t, up.Lines, `^  data +/dev/vda4, `)
		})
	}
}

// The network's time has not passed when the button is pressed.
func TestThePowerButtonEndsABootThatWaits(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	m := machine.Start(t, qemu.Machine{GOARCH: "amd64", Disk: d.Path, NoNetwork: true,
		Extra: []string{"-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-pci,netdev=net"}})
	m.Expect(`^phase system .*: done`)
	m.PowerOff()
	refuseLine(t, m.Lines(), `^skerry: node up: |: failed: `)
	d.CheckTable()
	d.CheckData()
}

func TestClockIsNeverBeforeTheBuildAndLackOfTimeIsTold(t *testing.T) {
	for _, tc := range []struct{ board, goarch, hardware string }{
		// The clock of PCs has two digits of the year, OVMF makes 2070 of 70, and
		// the kernel believes it.
		{"x86_64", "amd64", "1970-01-01T00:00:00"},
		{"arm64", "arm64", "1970-01-01T00:00:00"},
	} {
		t.Run(tc.board, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := flashed(t, tc.board)
			d.WriteConfig(header + "network: {ntp: [10.0.2.99]}\n")
			m := machine.Start(t, qemu.Machine{GOARCH: tc.goarch, Disk: d.Path, Extra: []string{"-rtc", "base=" + tc.hardware}})
			up := m.ExpectUp()
			wantLine(t, up.Lines, `^  clock +not synchronised$`)
			m.Expect(`^skerry: problem: clock: no NTP server answers: `)
			m.PowerOff()
			d.CheckData()
			built := built(t, tc.board).manifest.Time
			if saved := changed(t, d, "/lib/skerry/time"); saved.Before(built) || saved.After(built.Add(time.Hour)) {
				t.Errorf("the clock went on to %v: it should have begun with the time of the build, %v", saved, built)
			}
		})
	}
}

// changed returns when a file of data was changed, by the node's clock.
func changed(t *testing.T, d machine.Disk, name string) time.Time {
	t.Helper()
	text := machine.Run(t, "debugfs", "-R", "stat "+name, d.FileSystem())
	groups := regexp.MustCompile(`(?m)^ *mtime: 0x([0-9a-f]+)`).FindStringSubmatch(text)
	if groups == nil {
		t.Fatalf("%s is not on data:\n%s", name, text)
	}
	seconds, err := strconv.ParseInt(groups[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(seconds, 0).UTC()
}
