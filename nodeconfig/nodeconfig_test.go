package nodeconfig_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

var update = flag.Bool("update", false, "write the golden error messages")

const head = "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestValidConfigsAreAccepted(t *testing.T) {
	for _, name := range files(t, "testdata/valid/*.yaml") {
		if _, err := nodeconfig.Parse(filepath.Base(name), read(t, name)); err != nil {
			t.Errorf("%s", err)
		}
	}
}

func TestWrongConfigsAreExplained(t *testing.T) {
	for _, name := range files(t, "testdata/wrong/*.yaml") {
		c, err := nodeconfig.Parse(filepath.Base(name), read(t, name))
		if err == nil || c != nil {
			t.Errorf("%s: was accepted", name)
			continue
		}
		golden := strings.TrimSuffix(name, ".yaml") + ".errors"
		if *update {
			if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(read(t, golden)), err.Error()+"\n"); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: an error repeats a secret:\n%v", name, err)
		}
	}
}

func TestFilesThatCostTooMuchAreRefusedWithAPosition(t *testing.T) {
	bomb := head + "cluster:\n  role: server\n  kubelet:\n    a: &a [x, x, x, x, x, x, x, x]\n    b: &b [*a, *a, *a, *a, *a, *a]\n    c: [*b, *b, *b, *b]\n"
	for text, want := range map[string]string{
		bomb: "f:6:8: cluster.kubelet.a: an anchor (&) is not supported",
		head + strings.Repeat("# ten megabytes\n", 10<<20/16): "f:1:1: the file is larger than 1024 KiB",
	} {
		_, err := nodeconfig.Parse("f", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %.100v, want %s", err, want)
		}
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	c, err := nodeconfig.Parse("f", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &nodeconfig.Config{APIVersion: nodeconfig.APIVersion, Kind: nodeconfig.Kind}
	want.Storage.Data.Device = "auto"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	c, err = nodeconfig.Parse("f", []byte(head+`
cluster: {role: server}
updates: {source: "file:///mnt", window: {from: 01:00, to: 02:00}}
files: [{path: /etc/a, content: ""}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Cluster.Datastore != "sqlite" || c.Updates.Channel != "stable" || c.Updates.Window.Timezone != "UTC" ||
		len(c.Updates.Window.Days) != 7 || time.Duration(c.Updates.Health.Deadline) != 10*time.Minute || c.Files[0].Mode != 0o644 {
		t.Errorf("got %+v, %+v, %+v", c.Cluster, c.Updates, c.Files)
	}
	c, err = nodeconfig.Parse("f", []byte(head+"cluster: {role: server, join: \"https://192.0.2.10:6443\", tokenFile: /etc/skerry/token}\n"))
	if err != nil || c.Cluster.Datastore != "etcd" {
		t.Errorf("a server that joins: %+v, %v", c, err)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	c, err := nodeconfig.Parse("server.yaml", read(t, "testdata/valid/server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	iface := c.Network.Interfaces[0]
	if iface.UseDHCP() || iface.Addresses[0] != netip.MustParsePrefix("192.0.2.17/24") || iface.Gateway.String() != "192.0.2.1" ||
		iface.MTU != 1500 || iface.VLANs[0].ID != 20 || !iface.VLANs[0].UseDHCP() || iface.Match.MAC.String() != "dc:a6:32:01:02:03" {
		t.Errorf("interface: %+v", iface)
	}
	window := c.Updates.Window
	if window.Days[0] != nodeconfig.Day(time.Saturday) || window.From != 120 || window.To.String() != "05:00" {
		t.Errorf("window: %+v", window)
	}
	if c.Updates.MaxBytes != 200<<20 || c.Cluster.Kubelet["maxPods"] != int64(40) || c.Files[0].Content != "Shop 17\n" {
		t.Errorf("got %+v", c)
	}
	// RFC 8032, section 7.1, test 1.
	public := ed25519.NewKeyFromSeed([]byte("\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60")).Public()
	key := c.Access.Keys[0]
	if !public.(ed25519.PublicKey).Equal(ed25519.PublicKey(key.Public[:])) || key.Name != "ops@example" {
		t.Errorf("key: %v", key)
	}
}

func TestHostnamesAreLabels(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "7": true, "a-b": true, strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
		"": false, "-a": false, "a-": false, "a_b": false, "A": false, "a.b": false, "ä": false, "a b": false, "localhost\n": false,
	} {
		_, err := nodeconfig.Parse("f", []byte(head+"hostname: "+quote(name)+"\n"))
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func quote(s string) string {
	return `"` + strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func TestTheDefaultHostnameIsBoardAndMAC(t *testing.T) {
	mac := net.HardwareAddr{0xdc, 0xa6, 0x32, 0xa1, 0xb2, 0xc3}
	for board, want := range map[string]string{
		"rpi4": "rpi4-a1b2c3", "x86_64": "x86-64-a1b2c3", "": "skerry-a1b2c3", strings.Repeat("b", 80): strings.Repeat("b", 56) + "-a1b2c3",
	} {
		name := nodeconfig.DefaultHostname(board, mac)
		if name != want {
			t.Errorf("%s: got %s, want %s", board, name, want)
		}
		if _, err := nodeconfig.Parse("f", []byte(head+"hostname: "+quote(name)+"\n")); err != nil {
			t.Errorf("%s: %v", board, err)
		}
	}
	if got := nodeconfig.DefaultHostname("rock64", nil); got != "rock64" {
		t.Errorf("without a MAC: %s", got)
	}
}

func TestMatchNeedsAllThatIsGiven(t *testing.T) {
	mac := nodeconfig.MAC{2, 0, 0, 0, 0, 1}
	m := nodeconfig.Match{MAC: &mac, Driver: "virtio_net"}
	if !m.Matches(mac, "eth0", "virtio_net") || m.Matches(mac, "eth0", "e1000") || m.Matches(nodeconfig.MAC{}, "eth0", "virtio_net") {
		t.Error("Matches does not compare all that is given")
	}
}

func TestValuesAreWrittenAsTheyAreRead(t *testing.T) {
	text := func(v interface {
		MarshalText() ([]byte, error)
	}) string {
		b, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var (
		mac  nodeconfig.MAC
		day  nodeconfig.Day
		at   nodeconfig.TimeOfDay
		mode nodeconfig.FileMode
		key  nodeconfig.AccessKey
	)
	public := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, err := range []error{
		mac.UnmarshalText([]byte("02:00:00:00:AB:01")), day.UnmarshalText([]byte("wed")), at.UnmarshalText([]byte("23:59")),
		mode.UnmarshalText([]byte("0755")), key.UnmarshalText([]byte("ed25519:" + public + " me")),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	got := []string{text(mac), text(day), text(at), text(mode), text(key)}
	want := []string{"02:00:00:00:ab:01", "wed", "23:59", "0755", "ed25519:" + public + " me"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"02-00-00-00-ab-01", "0200.0000.ab01", "02:00:00:00:ab", "02:00:00:00:ab:01:02:03", "2:0:0:0:a:1", ""} {
		if err := mac.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("the MAC %q was read as %v", wrong, mac)
		}
	}
	for _, wrong := range []string{"24:00", "2:00", "02:60", "0200", "+2:00", "02:00:00", ""} {
		if err := at.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("the time %q was read as %v", wrong, at)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/valid/*.yaml", "testdata/wrong/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := nodeconfig.Parse("f", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		var e *strictyaml.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("not a *strictyaml.Error: %v", err)
		}
	})
}
