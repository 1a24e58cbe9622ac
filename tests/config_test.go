//go:build system

package tests

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/disk"
	"github.com/skerry-os/skerry/tests/machine"
)

// header begins every node config.
const header = "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"

func TestBadConfigIsNamedAndTheLastGoodOneCounts(t *testing.T) {
	for _, tc := range []struct{ name, config, message string }{
		{"unknown key", header + "hostnme: shop-18\n", `skerry\.yaml:3:1: .*hostnme`},
		{"duplicate key", header + "hostname: shop-18\nhostname: shop-19\n", `skerry\.yaml:4:1: .*hostname`},
		{"alias bomb", aliasBomb(), `skerry\.yaml:3:\d+: `},
		{"10 MB", header + strings.Repeat("# too long\n", 1<<20), `skerry\.yaml:1:1: the file is larger than 1024 KiB`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			timed(t)
			d := used(t)
			d.WriteConfig(tc.config)
			m := boot(t, d)
			up := m.ExpectUp()
			wantLine(t, up.Lines, `^phase config \(2/\d+\): failed: the node runs with the last config that worked: `+tc.message)
			wantLine(t, up.Lines, `^skerry: problem: config: the node runs with the last config that worked: `+tc.message)
			if up.Hostname != "shop-17" {
				t.Errorf("the node is called %s, not shop-17 as in its last good config", up.Hostname)
			}
			wantLine(t, up.Lines, nodeLine+`2$`)
		})
	}
}

// aliasBomb is a document of 26 lines that stands for 10^24 values.
func aliasBomb() string {
	var b strings.Builder
	b.WriteString(header + "a: &a [x, x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'z'; c++ {
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 9) + "*" + string(c-1) + "]\n")
	}
	return b.String()
}

func TestNodeStartsWithDefaultsIfItsFirstConfigIsBad(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	d.WriteConfig(header + "hostname: Shop 17\n")
	m := boot(t, d)
	up := m.ExpectUp()
	wantLine(t, up.Lines, `^phase config \(2/\d+\): failed: the node runs with the defaults, .*: skerry\.yaml:3:11: `)
	if !strings.HasPrefix(up.Hostname, "x86-64-") {
		t.Errorf("the node is called %s, not by board and MAC", up.Hostname)
	}
	m.PowerOff()
	// What a person finds who puts the disk into a computer.
	report := machine.Run(t, "mtype", "-i", d.Path+"@@1M", "::skerry-report.txt")
	wantLine(t, strings.Split(report, "\n"), `^skerry\.yaml:3:11: `)
	d.WriteConfig(header + "hostname: shop-17\n")
	m = boot(t, d)
	if up = m.ExpectUp(); up.Hostname != "shop-17" {
		t.Errorf("the node is called %s, not shop-17", up.Hostname)
	}
	m.PowerOff()
	report = machine.Run(t, "mtype", "-i", d.Path+"@@1M", "::skerry-report.txt")
	wantLine(t, strings.Split(report, "\n"), `^The node uses skerry\.yaml\.`)
}

func TestConfigUnderAnotherNameIsTold(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	if err := disk.WriteBootFile(d.Path, "skerry.yaml.txt", []byte(header+"hostname: shop-17\r\n"), time.Now()); err != nil {
		t.Fatal(err)
	}
	boot(t, d).Expect(`^phase config \(2/\d+\): failed: the node runs with the defaults, .*: partition boot has skerry\.yaml\.txt and no skerry\.yaml: rename it`)
}

func TestConfigNamesTheNodeAndGivesItAddresses(t *testing.T) {
	t.Parallel()
	timed(t)
	d := flashed(t, "x86_64")
	d.WriteConfig(header + `hostname: shop-18
network:
  interfaces:
    - match: {driver: virtio_net}
      addresses: [10.0.2.77/24]
      gateway: 10.0.2.2
      vlans: [{id: 20, addresses: [192.0.2.17/28]}]
`)
	up := boot(t, d).ExpectUp()
	if up.Hostname != "shop-18" {
		t.Errorf("the node is called %s, not shop-18", up.Hostname)
	}
	addresses := strings.Split(up.Addresses, ",")
	for _, want := range []string{"10.0.2.77", "192.0.2.17"} {
		if !slices.Contains(addresses, want) {
			t.Errorf("address %s is missing: %s", want, up.Addresses)
		}
	}
	if slices.Contains(addresses, "10.0.2.15") {
		t.Errorf("there is an address from DHCP, which was not asked for: %s", up.Addresses)
	}
	refuseLine(t, up.Lines, `: failed: `)
}
