//go:build system && soak

package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/debian"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/tests/machine"
)

// debianPackages are what a small server has, and nftables, which a node needs.
const debianPackages = "systemd-sysv,linux-image-amd64,kmod,iproute2,nftables,procps,systemd-resolved,udev,dbus,ca-certificates"

// debianFiles let root in at the serial console, and give the machine a network.
var debianFiles = map[string]string{
	"etc/hostname":                    "debian\n",
	"etc/hosts":                       "127.0.0.1 localhost\n127.0.1.1 debian\n",
	"etc/systemd/network/any.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
	"etc/systemd/system/serial-getty@ttyS0.service.d/root.conf": "[Service]\nExecStart=\n" +
		"ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I dumb\n",
}

// debianMachine starts a machine with Debian, whose second disk has the files of
// a folder.
func debianMachine(t *testing.T, suite, files string) *machine.Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("mmdebstrap makes a root file system with the owners that it has to have: run this test as root")
	}
	dir := t.TempDir()
	mirrors, err := debian.HostMirrors(os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	root, disk := filepath.Join(dir, "root"), filepath.Join(dir, "disk")
	do(t, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+debianPackages,
		"--keyring=/usr/share/keyrings/debian-archive-keyring.gpg", suite, root, mirrors.Archive)
	for name, contents := range debianFiles {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do(t, "systemctl", "--root="+root, "--quiet", "enable", "systemd-networkd.service", "systemd-networkd-wait-online.service")
	fileSystem(t, disk, root, "8G")
	fileSystem(t, disk+".files", files, "1G")
	kernel, initrd := one(t, root+"/boot/vmlinuz-*"), one(t, root+"/boot/initrd.img-*")
	m := machine.Start(t, qemu.Machine{GOARCH: "amd64", Disk: disk, Memory: 2560, Extra: []string{
		"-drive", "if=virtio,format=raw,readonly=on,file=" + disk + ".files",
		// Emulated, what the kernel does against faults of processors makes every
		// system call slow.
		"-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw quiet mitigations=off console=ttyS0,115200",
	}})
	m.Expect(`root \(automatic login\)`)
	return m
}

// do runs a program of this machine, which must succeed.
func do(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// fileSystem makes an ext4 file system with the files of a folder.
func fileSystem(t *testing.T, name, files, size string) {
	t.Helper()
	do(t, "truncate", "--size="+size, name)
	do(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", files, name)
}

// one is the file that a pattern names.
func one(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names[0]
}

// shell is root's at the serial console.
type shell struct {
	*machine.Machine
	t     *testing.T
	count int
}

func newShell(t *testing.T, m *machine.Machine) *shell {
	t.Helper()
	// What is typed before the shell reads is thrown away by login.
	for range 40 {
		// No echo and no prompt: a line is what a command prints.
		m.Type("stty -echo cols 1000; PS1=; PS2=; export PAGER=cat SYSTEMD_PAGER=; dmesg --console-off; echo shell is ready")
		if _, err := m.Console.Poll(`^shell is ready$`, 15*time.Second); err == nil {
			return &shell{Machine: m, t: t}
		}
	}
	t.Fatal("the shell does not answer")
	return nil
}

// try runs a command to its end and returns what it printed.
func (s *shell) try(command string) (out string, code string) {
	s.t.Helper()
	s.count++
	begin := len(s.Lines())
	s.Type(fmt.Sprintf("%s; code=$?; echo; echo end-%d-$code", command, s.count))
	groups, err := s.Console.Expect(fmt.Sprintf(`^end-%d-(\d+)$`, s.count), clusterDeadline)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	lines := s.Lines()[begin:]
	end := slices.IndexFunc(lines, func(line string) bool { return line == groups[0] })
	return strings.TrimSpace(strings.Join(lines[:end], "\n")), groups[1]
}

// run runs a command, which must succeed.
func (s *shell) run(command string) string {
	s.t.Helper()
	out, code := s.try(command)
	if code != "0" {
		s.t.Fatalf("%s: exit code %s\n%s", command, code, out)
	}
	return out
}

// says runs a command, which must succeed and print certain things.
func (s *shell) says(command string, patterns ...string) {
	s.t.Helper()
	out := s.run(command)
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(out) {
			s.t.Errorf("%s: no %q in\n%s", command, pattern, out)
		}
	}
}

// distributions are two versions of the download, which differ in their version.
func distributions(t *testing.T, versions ...string) string {
	t.Helper()
	program, err := builderCommand()
	if err != nil {
		t.Fatal(err)
	}
	source, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "files")
	for _, version := range versions {
		do(t, program, "dist", "--source", source, "--arch", "amd64", "--version", version, "--output", dir)
	}
	return dir
}

// leftovers prints what an installation could have left: processes, mounts,
// interfaces, rules, units, and files.
const leftovers = `{ ps -e -o comm= | grep -E '^(skerry|containerd-shim|pause)' | sort -u; ` +
	`findmnt --raw --noheadings --output TARGET | grep -E 'skerry|kubelet|netns/cni'; ` +
	`ip -o link | cut -d : -f 2; nft list tables; ls /sys/fs/cgroup | grep -E 'kube|skerry'; ` +
	`systemctl list-units --all --plain --no-legend 'skerry*' 'kubepods*' 'cri-*'; ` +
	`find /etc /usr /opt /root /var/lib /var/log/pods /run/skerry /run/netns -path /var/lib/systemd -prune -o -path /root/.kube -prune -o -print 2>/dev/null | sort; }`

func TestADownloadInstallsItselfOnDebian(t *testing.T) {
	timed(t)
	files := distributions(t, "0.1.0", "0.2.0")
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			timed(t)
			newShell(t, debianMachine(t, suite, files)).installsItself()
		})
	}
}

// installsItself installs the download, updates it and takes it away again.
func (s *shell) installsItself() {
	s.run("mount -o ro /dev/vdb /mnt")
	s.run("mkdir -p /etc/modules-load.d /etc/sysctl.d /usr/local/lib /usr/local/bin /etc/systemd/system/multi-user.target.wants")
	s.run(leftovers + " > /tmp/before")

	s.says("/mnt/skerry-0.1.0-linux-amd64 install server --timeout 40m", "unpacked into /usr/local/lib/skerry/0.1.0", "cluster server Ready", "next:")
	s.says("stat -c %a /etc/skerry/config.yaml", "^600$")
	s.says("skerry kubectl get nodes", `debian +Ready`)
	s.run("kubectl run first --image=skerry.dev/pause:v1 --restart=Never")
	s.run("kubectl wait pod/first --for=condition=Ready --timeout=20m")
	pods := s.run("pgrep -x pause | sort")

	// A server that starts on a busy machine may take a connection late.
	const getPod = "until kubectl get pod first; do sleep 3; done"
	s.run("systemctl restart skerry.service")
	s.says(getPod, `1/1 +Running +0`)
	if after := s.run("pgrep -x pause | sort"); after != pods {
		s.t.Errorf("processes of Pods before a restart: %q, after it: %q", pods, after)
	}
	s.says("/mnt/skerry-0.1.0-linux-amd64 install server", "as it was unpacked", "version 0.1.0 runs already")
	s.says("/mnt/skerry-0.2.0-linux-amd64 install server --timeout 40m", "cluster server Ready", "removed version 0.1.0")
	s.says(getPod, `1/1 +Running +0`)
	if after := s.run("pgrep -x pause | sort"); after != pods {
		s.t.Errorf("processes of Pods before an update: %q, after it: %q", pods, after)
	}
	// The Pod was started by the former version's programs.
	s.run("kubectl delete pod first --timeout=10m")

	if out, code := s.try("/mnt/skerry-0.2.0-linux-amd64 install agent --server https://192.0.2.1:6443"); code == "0" || !strings.Contains(out, "this machine is a server") {
		s.t.Errorf("a server became an agent: %s", out)
	}
	s.says("skerry uninstall --purge", "removed interface cni0", "removed /usr/local/lib/skerry", "removed /var/lib/skerry")
	if changes, code := s.try(leftovers + " | diff /tmp/before -"); code != "0" {
		s.t.Errorf("what is left of it, and what is gone:\n%s", changes)
	}
}
