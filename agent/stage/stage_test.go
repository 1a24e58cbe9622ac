package stage

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/skerry-os/skerry/agent/network"
	"github.com/skerry-os/skerry/agent/service"
	"github.com/skerry-os/skerry/nodeconfig"
)

func write(t *testing.T, name, contents string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOSReleaseNamesReleaseBoardAndTime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "os-release")
	write(t, name, "ID=\"skerry\"\nVERSION_ID=\"1.2.0\"\nVARIANT_ID=rpi4\nSKERRY_BUILD_TIME=\"1700000000\"\n")
	got, err := readOSRelease(name)
	want := osRelease{version: "1.2.0", board: "rpi4", buildTime: time.Unix(1700000000, 0)}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := readOSRelease(name + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestServicesOfTheImageCanBeRead(t *testing.T) {
	for _, overlay := range []string{"cluster", "heartbeat", "debug"} {
		specs, err := readServices("../../overlays/" + overlay + "/root" + servicesDir)
		if err != nil || len(specs) == 0 {
			t.Fatalf("overlay %s: %d services, %v", overlay, len(specs), err)
		}
		if _, err := service.New(specs, service.Options{NotifyDir: t.TempDir()}); err != nil {
			t.Errorf("overlay %s: %v", overlay, err)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.yaml"), "name: x\ncommand: [/bin/x]\nwatchdog: 3s\n")
	if _, err := readServices(dir); err == nil || !strings.Contains(err.Error(), "x.yaml:3:1") {
		t.Errorf("unknown key: %v", err)
	}
}

func TestFirstMACIsThatOfTheFirstCard(t *testing.T) {
	class := t.TempDir()
	write(t, filepath.Join(class, "bonding_masters"), "")
	write(t, filepath.Join(class, "br0", "address"), "02:00:00:00:00:01\n") // no hardware
	if mac := firstMAC(class); mac != nil {
		t.Errorf("got %v although there is no card", mac)
	}
	write(t, filepath.Join(class, "eth1", "address"), "02:00:00:00:00:03\n")
	write(t, filepath.Join(class, "eth1", "device", "vendor"), "")
	write(t, filepath.Join(class, "eth0", "address"), "02:00:00:00:00:02\n")
	write(t, filepath.Join(class, "eth0", "device", "vendor"), "")
	if mac := firstMAC(class); mac.String() != "02:00:00:00:00:02" {
		t.Errorf("got %v", mac)
	}
}

func TestNetworkConfigKeepsEverySetting(t *testing.T) {
	config, err := nodeconfig.Parse("x.yaml", []byte(`apiVersion: skerry.dev/v1alpha1
kind: NodeConfig
network:
  interfaces:
    - match: {mac: "dc:a6:32:01:02:03"}
      addresses: [192.0.2.17/24, "2001:db8::17/64"]
      gateway: 192.0.2.1
      mtu: 1500
      vlans: [{id: 20, addresses: ["2001:db8:1::1/64"], gateway: "2001:db8:1::2"}]
    - match: {name: eth1, driver: r8152}
      dhcp: true
  nameservers: [192.0.2.1]
`))
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := network.Config{
		Interfaces: []network.Interface{{
			Match:     network.Match{MAC: []byte{0xdc, 0xa6, 0x32, 1, 2, 3}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.17/24"), netip.MustParsePrefix("2001:db8::17/64")},
			Gateway4:  netip.MustParseAddr("192.0.2.1"), MTU: 1500,
			VLANs: []network.VLAN{{ID: 20, Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::1/64")},
				Gateway6: netip.MustParseAddr("2001:db8:1::2")}},
		}, {Match: network.Match{Name: "eth1", Driver: "r8152"}, DHCP: &yes}},
		Nameservers: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	}
	options := []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, networkConfig(config.Network), options...); diff != "" {
		t.Error(diff)
	}
}
