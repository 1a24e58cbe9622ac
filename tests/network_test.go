//go:build system && soak

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

func TestClockIsNeverBeforeTheBuildAndLackOfTimeIsTold(t *testing.T) {
	timed(t)
	d := flashed(t, "x86_64")
	d.WriteConfig(header + "network: {ntp: [10.0.2.99]}\n")
	m := machine.Start(t, qemu.Machine{GOARCH: "amd64", Disk: d.Path, Extra: []string{"-rtc", "base=1970-01-01T00:00:00"}})
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^  clock +not synchronised$`)
	m.Expect(`^skerry: problem: clock: no NTP server answers: `)
	m.PowerOff()
	d.CheckData()
	// The node writes its clock there when it goes down, and the file's own time
	// is that of the same clock.
	text := machine.Run(t, "debugfs", "-R", "stat /lib/skerry/time", d.FileSystem())
	groups := regexp.MustCompile(`(?m)^ *mtime: 0x([0-9a-f]+)`).FindStringSubmatch(text)
	if groups == nil {
		t.Fatalf("the time was not saved:\n%s", text)
	}
	seconds, err := strconv.ParseInt(groups[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	now, built := time.Unix(seconds, 0), built(t, "x86_64").manifest.Time
	if now.Before(built) || now.After(built.Add(time.Hour)) {
		t.Errorf("the clock went on to %v: it should have begun with the time of the build, %v", now.UTC(), built)
	}
}
