package sysctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeRoot makes a directory like /proc/sys with the parameters named.
func fakeRoot(t *testing.T, paths ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, path := range paths {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func value(t *testing.T, root, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

func TestPathSeparators(t *testing.T) {
	for key, want := range map[string]string{
		"vm.overcommit_memory":                  "vm/overcommit_memory",
		"vm/overcommit_memory":                  "vm/overcommit_memory",
		"net.ipv4.conf.eth0/20.forwarding":      "net/ipv4/conf/eth0.20/forwarding",
		"net/ipv4/conf/eth0.20/forwarding":      "net/ipv4/conf/eth0.20/forwarding",
		"net.bridge.bridge-nf-call-iptables":    "net/bridge/bridge-nf-call-iptables",
		"kernel":                                "kernel",
		"net/ipv6/conf/*/accept_ra":             "net/ipv6/conf/*/accept_ra",
		"net.ipv4.neigh.default.gc_thresh1":     "net/ipv4/neigh/default/gc_thresh1",
		"net.ipv4.conf.wlan0/1/x.proxy_arp_pvl": "net/ipv4/conf/wlan0.1.x/proxy_arp_pvl",
	} {
		if got, err := Path(key); err != nil || got != want {
			t.Errorf("Path(%q) = %q, %v; want %q", key, got, err, want)
		}
	}
	for _, key := range []string{"", ".", "/", "/etc/passwd", ".vm.x", "vm..x", "vm.x.", "vm/../../etc/x", "../x", "./x", "a\x00b", "vm/./x", "net.//.x"} {
		if got, err := Path(key); err == nil {
			t.Errorf("Path(%q) = %q, want an error", key, got)
		}
	}
}

// sysctl(8) is the authority on how names map to paths.
func TestPathAgreesWithSysctl(t *testing.T) {
	program, err := exec.LookPath("/sbin/sysctl")
	if err != nil {
		t.Fatalf("this test needs sysctl(8), package procps: %v", err)
	}
	for _, key := range []string{"kernel.ostype", "kernel/ostype", "net.ipv4.conf.lo.forwarding", "net/ipv4/conf/lo/forwarding"} {
		want, err := exec.Command(program, "-n", key).Output()
		if err != nil {
			t.Fatalf("sysctl -n %s: %v", key, err)
		}
		path, err := Path(key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(Dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: %q, sysctl says %q", key, got, want)
		}
	}
}

func TestApplyWritesInOrderAndReportsMissing(t *testing.T) {
	root := fakeRoot(t, "vm/overcommit_memory", "kernel/panic")
	result, err := Apply(root, []Setting{
		{"kernel.panic", "10"},
		{"net.bridge.bridge-nf-call-iptables", "1"},
		{"vm.overcommit_memory", "1"},
		{"kernel/panic", "20"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		Set:     []string{"kernel.panic", "vm.overcommit_memory", "kernel/panic"},
		Missing: []string{"net.bridge.bridge-nf-call-iptables"},
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if got := value(t, root, "vm/overcommit_memory"); got != "1" {
		t.Errorf("vm.overcommit_memory is %q", got)
	}
}

func TestApplyExpandsPatterns(t *testing.T) {
	root := fakeRoot(t, "net/ipv6/conf/eth0.20/accept_ra", "net/ipv6/conf/lo/accept_ra", "net/ipv6/conf/lo/mtu")
	result, err := Apply(root, []Setting{
		{"net.ipv6.conf.*.accept_ra", "2"},
		{"net.ipv4.conf.*.forwarding", "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		Set:     []string{"net/ipv6/conf/eth0.20/accept_ra", "net/ipv6/conf/lo/accept_ra"},
		Missing: []string{"net.ipv4.conf.*.forwarding"},
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for path, want := range map[string]string{"eth0.20/accept_ra": "2", "lo/accept_ra": "2", "lo/mtu": ""} {
		if got := value(t, root, "net/ipv6/conf/"+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

func TestApplyGoesOnAfterFailuresAndNamesKeyAndValue(t *testing.T) {
	root := fakeRoot(t, "vm/swappiness", "kernel/panic")
	result, err := Apply(root, []Setting{
		{"../../etc/passwd", "x"},
		{"vm", "3"},
		{"vm.swappiness", "1\n2"},
		{"vm.swappiness", strings.Repeat("1", MaxValue+1)},
		{"kernel.panic", "10"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{`"../../etc/passwd"`, `sysctl vm to "3"`, "sysctl vm.swappiness: "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %s:\n%v", part, err)
		}
	}
	if diff := cmp.Diff([]string{"kernel.panic"}, result.Set); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
}

// /dev/full refuses every write, as the kernel does a bad value.
func TestRefusedValueNamesKeyAndValue(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(root, "panic")); err != nil {
		t.Fatal(err)
	}
	_, err := Apply(root, []Setting{{"panic", "ten"}})
	if err == nil || !strings.Contains(err.Error(), `panic to "ten"`) {
		t.Errorf("error is %v", err)
	}
}

func TestNodeConfigWins(t *testing.T) {
	got, err := Merge(
		[]Setting{{"kernel.kptr_restrict", "2"}, {"vm.panic_on_oom", "0"}},
		map[string]string{"kernel/kptr_restrict": "1", "a.b": "1"},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{{"vm.panic_on_oom", "0"}, {"a.b", "1"}, {"kernel/kptr_restrict", "1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
	if _, err := Merge(nil, map[string]string{"..": "1", "a": "1"}); err == nil || !strings.Contains(err.Error(), `".."`) {
		t.Errorf("bad key: %v", err)
	}
}

// kubelet refuses to start on anything else: k8s.io/kubernetes 1.37,
// --protect-kernel-defaults.
func TestDefaultsHoldWhatKubeletDemands(t *testing.T) {
	values := map[string]string{}
	for _, s := range Defaults() {
		path, err := Path(s.Key)
		if err != nil {
			t.Error(err)
		}
		if _, twice := values[path]; twice {
			t.Errorf("%s stands twice in the table", s.Key)
		}
		values[path] = s.Value
	}
	for path, want := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0",
		"kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"fs/inotify/max_user_instances": "8192",
	} {
		if values[path] != want {
			t.Errorf("%s is %q, want %q", path, values[path], want)
		}
	}
}

func TestForwardingComesAfterAcceptRA(t *testing.T) {
	forwarding := false
	for _, s := range Defaults() {
		if strings.HasSuffix(s.Key, ".forwarding") {
			forwarding = true
		}
		if strings.HasSuffix(s.Key, ".accept_ra") && (forwarding || s.Value != "2") {
			t.Errorf("%s=%s, forwarding set before: %v", s.Key, s.Value, forwarding)
		}
	}
}

func FuzzPathStaysBelowRoot(f *testing.F) {
	for _, key := range []string{"vm.x", "a/b.c", "../x", "net.ipv4.conf.eth0/20.x", "/", "a..b", "*.x"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path, err := Path(key)
		if err != nil {
			return
		}
		if full := filepath.Join(Dir, path); !strings.HasPrefix(full, Dir+"/") || full != Dir+"/"+path {
			t.Errorf("Path(%q) = %q leaves %s", key, path, Dir)
		}
	})
}
