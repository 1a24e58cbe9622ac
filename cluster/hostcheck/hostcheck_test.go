package hostcheck

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/cluster/pki"
)

const release = "6.12.48+deb13-amd64"

// machine is one that lacks nothing.
type machine struct {
	t *testing.T
	Host
	nft string
	no  []string // programs that are not there
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, nft: "nftables v1.1.3 (Commodore Bullmoose #4)\n"}
	m.Host = Host{
		Root:    t.TempDir(),
		UserID:  func() int { return 0 },
		Run:     func(context.Context, string, ...string) (string, error) { return m.nft, m.Look("nft") },
		Now:     func() time.Time { return pki.Earliest() },
		InSync:  func() bool { return true },
		Space:   func(string) (int64, int64, error) { return goodRoom, unix.EXT4_SUPER_MAGIC, nil },
		Release: func() string { return release },
		Look: func(program string) error {
			if slices.Contains(m.no, program) {
				return exec.ErrNotFound
			}
			return nil
		},
	}
	m.put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
	var dependencies, options strings.Builder
	for _, f := range features {
		if f.module != "" {
			fmt.Fprintf(&dependencies, "kernel/net/%s.ko.xz: kernel/net/x.ko.xz\n", strings.ReplaceAll(f.module, "_", "-"))
			fmt.Fprintf(&options, "CONFIG_%s=m\n", f.option)
		} else {
			fmt.Fprintf(&options, "CONFIG_%s=y\n", f.option)
		}
	}
	m.put("lib/modules/"+release+"/modules.dep", dependencies.String())
	m.put("lib/modules/"+release+"/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
	m.put("boot/config-"+release, options.String())
	m.put("proc/self/mountinfo", "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n")
	m.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n")
	m.put("proc/meminfo", "MemTotal:        4025328 kB\nMemFree: 1 kB\n")
	m.process(1, "systemd")
	return m
}

func (m *machine) put(name, contents string) {
	m.t.Helper()
	name = filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.Root, name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) process(pid int, name string, sockets ...string) {
	m.t.Helper()
	dir := fmt.Sprintf("proc/%d", pid)
	m.put(dir+"/comm", name+"\n")
	for i, inode := range sockets {
		file := filepath.Join(m.Root, dir, "fd", fmt.Sprint(i+3))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink("socket:["+inode+"]", file)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// listen has the kernel say that somebody listens on a port of all addresses.
func (m *machine) listen(protocol, state, inode string, port int) {
	m.t.Helper()
	m.listenAt("00000000", protocol, state, inode, port)
}

// listenAt is listen for an address as the kernel prints it.
func (m *machine) listenAt(address, protocol, state, inode string, port int) {
	m.t.Helper()
	name := "proc/net/" + protocol
	m.put(name, m.read(name)+fmt.Sprintf("\n  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"+
		"   0: %s:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0000000000000000 100 0 0 10 0\n", address, port, state, inode))
}

var everything = Needs{Server: true, Etcd: true, Node: true, NodeName: "shop-17", DataDir: "/var/lib/skerry", Backend: "vxlan", Policies: true}

// wrong are all findings that are not ok.
func (m *machine) wrong(needs Needs) (lines []string) {
	for _, f := range m.Check(m.t.Context(), needs) {
		if f.Level != OK {
			lines = append(lines, f.String())
		}
	}
	return lines
}

func TestAMachineThatLacksNothingIsTold(t *testing.T) {
	m := newMachine(t)
	if lines := m.wrong(everything); len(lines) > 0 {
		t.Error(strings.Join(lines, "\n"))
	}
	if err := Refuse(m.Check(t.Context(), everything)); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrongIsTheOnlyThingThatIs(t *testing.T) {
	for want, change := range map[string]func(m *machine){
		"missing  root: a node makes namespaces, mounts and control groups, and this is user 1000": func(m *machine) { m.UserID = func() int { return 1000 } },
		"missing  control groups: there are none of version 2":                                     func(m *machine) { m.remove("sys/fs/cgroup/cgroup.controllers") },
		"missing  control groups: controller memory is not there: add cgroup_enable=memory": func(m *machine) {
			m.put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids")
		},
		"warning  control groups: controller io is not there": func(m *machine) {
			m.put("sys/fs/cgroup/cgroup.controllers", "cpuset cpu memory pids")
		},
		"missing  umount: there is no such program": func(m *machine) { m.no = []string{"umount"} },
		"missing  nft: there is no such program":    func(m *machine) { m.no = []string{"nft"} },
		"missing  nft: nftables v1.0.0 (x): 1.0.1":  func(m *machine) { m.nft = "nftables v1.0.0 (x)\n" },
		"missing  nft: nftables v0.9.8 (x): 1.0.1":  func(m *machine) { m.nft = "nftables v0.9.8 (x)\n" },
		"warning  nft: its version cannot be told":  func(m *machine) { m.nft = "what?\n" },
		"warning  mounts: the root is not shared": func(m *machine) {
			m.put("proc/self/mountinfo", "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
		},
		"warning  swap: it is on": func(m *machine) {
			m.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/vda2 partition 1000 0 -2\n")
		},
		"missing  other nodes: here runs k3s-server, kubelet": func(m *machine) { m.process(7, "kubelet"); m.process(8, "k3s-server"); m.process(9, "kubelet") },
		"warning  other nodes: here runs dockerd":             func(m *machine) { m.process(7, "dockerd") },
		"warning  firewall: firewalld runs":                   func(m *machine) { m.process(7, "firewalld") },
		"warning  firewall: ufw is on":                        func(m *machine) { m.put("etc/ufw/ufw.conf", "# x\nENABLED=yes\n") },
		"missing  clock: it says 1970-01-01 00:00:00":         func(m *machine) { m.Now = func() time.Time { return time.Unix(0, 0) } },
		"warning  clock: nobody keeps it right":               func(m *machine) { m.InSync = func() bool { return false } },
		"missing  memory: there are 383 MiB":                  func(m *machine) { m.put("proc/meminfo", "MemTotal: 393215 kB\n") },
		"warning  memory: there are 1535 MiB":                 func(m *machine) { m.put("proc/meminfo", "MemTotal: 1572863 kB\n") },
		"warning  memory: it cannot be told":                  func(m *machine) { m.put("proc/meminfo", "") },
		"warning  disk: /var/lib/skerry has room for 4095 MiB": func(m *machine) {
			m.Space = func(string) (int64, int64, error) { return goodRoom - 1, unix.EXT4_SUPER_MAGIC, nil }
		},
		"missing  disk: /var/lib/skerry is on an overlay": func(m *machine) {
			m.Space = func(string) (int64, int64, error) { return goodRoom, unix.OVERLAYFS_SUPER_MAGIC, nil }
		},
		"missing  port 6443/tcp: nginx has it, and it is for API server: stop nginx": func(m *machine) {
			m.listen("tcp6", "0A", "4711", 6443)
			m.process(7, "nginx", "1", "4711")
		},
		"missing  port 2380/tcp: somebody has it, and it is for etcd":        func(m *machine) { m.listen("tcp", "0A", "4711", 2380) },
		"missing  port 6444/tcp: somebody has it, and it is for the way to":  func(m *machine) { m.listen("tcp", "0A", "4711", 6444) },
		"missing  port 10010/tcp: somebody has it, and it is for containerd": func(m *machine) { m.listen("tcp", "0A", "4711", 10010) },
		"missing  port 8472/udp: somebody has it":                            func(m *machine) { m.listen("udp", "07", "0", 8472) },
		"missing  kernel vxlan: the kernel was built without CONFIG_VXLAN": func(m *machine) {
			m.without("vxlan", "VXLAN")
		},
		"missing  kernel seccomp_filter: the kernel was built without": func(m *machine) { m.without("", "SECCOMP_FILTER") },
		"missing  kernel nft_queue: the running kernel, " + release + ", has no such module": func(m *machine) {
			m.without("nft_queue", "")
		},
		"missing  kernel veth: a file in modprobe.d says": func(m *machine) { m.put("etc/modprobe.d/x.conf", "# x\ninstall veth /bin/false\n") },
	} {
		m := newMachine(t)
		change(m)
		if lines := m.wrong(everything); len(lines) != 1 || !strings.HasPrefix(lines[0], want) {
			t.Errorf("%s:\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// without takes a module from the list of modules, and an option from the
// kernel's configuration.
func (m *machine) without(module, option string) {
	m.t.Helper()
	for name, unwanted := range map[string]string{
		"lib/modules/" + release + "/modules.dep": "/" + strings.ReplaceAll(module, "_", "-") + ".ko",
		"boot/config-" + release:                  "CONFIG_" + option + "=",
	} {
		if unwanted == "/.ko" || unwanted == "CONFIG_=" {
			continue
		}
		var kept strings.Builder
		for line := range strings.Lines(m.read(name) + "\n") {
			if !strings.Contains(line, unwanted) {
				kept.WriteString(line)
			}
		}
		m.put(name, kept.String())
	}
}

func TestAKernelIsJudgedByWhatIsKnownOfIt(t *testing.T) {
	bare := func(m *machine) { // as on an image: nothing but the lists of modules
		m.remove("boot/config-" + release)
	}
	for name, test := range map[string]struct {
		change func(m *machine)
		want   string
	}{
		"nothing is known": {func(m *machine) {
			bare(m)
			m.remove("lib/modules/" + release + "/modules.dep")
			m.remove("lib/modules/" + release + "/modules.builtin")
		}, "warning  kernel overlay: it cannot be told"},
		"lists of modules":      {bare, "ok       kernel overlay: it is a module"},
		"a list of what is not": {func(m *machine) { bare(m); m.without("overlay", "") }, "missing  kernel overlay: the running kernel"},
		"built in": {func(m *machine) {
			bare(m)
			m.without("overlay", "")
			m.put("lib/modules/"+release+"/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n")
		}, "ok       kernel overlay: it is part of the kernel"},
		"loaded": {func(m *machine) {
			bare(m)
			m.without("overlay", "")
			m.put("sys/module/overlay/refcnt", "1")
		}, "ok       kernel overlay: it is loaded"},
		"a compressed configuration": {func(m *machine) {
			bare(m)
			m.without("overlay", "")
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			z.Write([]byte("CONFIG_OVERLAY_FS=y\n"))
			z.Close()
			m.put("proc/config.gz", packed.String())
		}, "ok       kernel overlay: it is part of the kernel"},
	} {
		m := newMachine(t)
		test.change(m)
		findings := m.Check(t.Context(), everything)
		if !slices.ContainsFunc(findings, func(f Finding) bool { return strings.HasPrefix(f.String(), test.want) }) {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

// What a machine is not for it need not have.
func TestOnlyWhatIsNeededIsLookedAt(t *testing.T) {
	m := newMachine(t)
	m.without("wireguard", "WIREGUARD")
	m.without("nft_queue", "NFT_QUEUE")
	m.listen("tcp", "0A", "4711", 6443)
	m.listen("tcp", "0A", "4712", 2380)
	m.put("proc/meminfo", "MemTotal: 524288 kB\n")
	agent := everything
	agent.Server, agent.Policies = false, false
	if lines := m.wrong(agent); len(lines) > 0 {
		t.Errorf("an agent: %s", strings.Join(lines, "\n"))
	}
	agent.Backend = "wireguard-native"
	if lines := m.wrong(agent); len(lines) != 1 || !strings.HasPrefix(lines[0], "missing  kernel wireguard") {
		t.Errorf("an agent with WireGuard: %s", strings.Join(lines, "\n"))
	}
	control := newMachine(t)
	control.UserID = func() int { return 1000 }
	control.remove("sys/fs/cgroup/cgroup.controllers")
	control.process(7, "kubelet")
	needs := everything
	needs.Node = false
	if lines := control.wrong(needs); len(lines) > 0 {
		t.Errorf("a control plane without a node: %s", strings.Join(lines, "\n"))
	}
}

func TestPortsOfItsOwnAreNoObstacle(t *testing.T) {
	m := newMachine(t)
	m.listen("tcp", "0A", "4711", 10250)
	m.process(7, "skerry", "4711")
	m.listen("udp", "07", "0", 8472) // the kernel's, for the interface
	m.put("sys/class/net/flannel.1/mtu", "1450")
	m.listen("udp", "07", "0", 51820)
	m.put("sys/class/net/flannel-wg/mtu", "1420")
	// A connection from that port is no listener.
	m.listen("tcp6", "01", "4712", 6443)
	wireGuard := everything
	wireGuard.Backend = "wireguard-native"
	for _, needs := range []Needs{everything, wireGuard} {
		if lines := m.wrong(needs); len(lines) > 0 {
			t.Errorf("%s: %s", needs.Backend, strings.Join(lines, "\n"))
		}
	}
}

func TestPortsOfTheMachineItselfMayBeTakenElsewhere(t *testing.T) {
	for address, taken := range map[string]bool{
		"00000000":                         true,
		"00000000000000000000000000000000": true,  // ::
		"0100007F":                         true,  // 127.0.0.1
		"0200007F":                         false, // 127.0.0.2
		"010200C0":                         false, // 192.0.2.1
		"00000000000000000000000001000000": false, // ::1
		"0000000000000000FFFF00000100007F": true,  // ::ffff:127.0.0.1
	} {
		m := newMachine(t)
		m.listenAt(address, "tcp", "0A", "4711", 6444)
		if lines := m.wrong(everything); (len(lines) > 0) != taken {
			t.Errorf("%s: %q", address, lines)
		}
	}
}

func TestNamesThatNoNodeCanHave(t *testing.T) {
	for name, want := range map[string]Level{"shop-17": OK, "shop.example": OK, "Shop": Missing, "a_b": Missing, "": Missing, "localhost": Missing} {
		if got := nodeName(name); got.Level != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestMachinesReadTheSameAsPeople(t *testing.T) {
	findings := []Finding{{Name: "nft", Level: OK, Text: "x"}, {"clock", Missing, "y", "z"}}
	var out bytes.Buffer
	if err := WriteJSON(&out, findings); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Findings []Finding
		Missing  int
	}
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || read.Missing != 1 || !slices.Equal(read.Findings, findings) {
		t.Errorf("%v\n%s", err, &out)
	}
	out.Reset()
	if err := WriteText(&out, findings); err != nil || out.String() != "ok       nft: x\nmissing  clock: y: z\n" {
		t.Errorf("%v\n%s", err, &out)
	}
	if err := Refuse(findings); err == nil || err.Error() != "missing  clock: y: z" {
		t.Error(err)
	}
}

// This machine can be looked at, whatever it is.
func TestThisMachineIsLookedAt(t *testing.T) {
	for _, f := range (Host{}).Check(t.Context(), everything) {
		if f.Name == "" || f.Text == "" || f.Level == Missing && f.Do == "" {
			t.Errorf("%+v", f)
		}
	}
}
