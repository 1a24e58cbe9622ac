package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/skerry-os/skerry/cluster/pki"
)

func (h *Host) root() Finding {
	if h.UserID() != 0 {
		return Finding{"root", Missing, "a node makes namespaces, mounts and control groups, and this is user " + strconv.Itoa(h.UserID()), "run it as root"}
	}
	return Finding{Name: "root", Level: OK, Text: "this is root"}
}

// controllers are what the kubelet and runc need of control groups; without io
// disks are not shared fairly.
var controllers = []struct {
	name  string
	level Level
}{{"cpu", Missing}, {"cpuset", Missing}, {"memory", Missing}, {"pids", Missing}, {"io", Warning}}

func (h *Host) controlGroups() []Finding {
	if !h.exists("sys/fs/cgroup/cgroup.controllers") {
		return []Finding{{"control groups", Missing, "there are none of version 2 at /sys/fs/cgroup",
			"boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line, and without cgroup v1 at /sys/fs/cgroup"}}
	}
	have := strings.Fields(h.read("sys/fs/cgroup/cgroup.controllers"))
	findings := []Finding{{Name: "control groups", Level: OK, Text: "version 2, with " + strings.Join(have, ", ")}}
	for _, c := range controllers {
		if !slices.Contains(have, c.name) {
			do := "take a kernel that has it"
			if c.name == "memory" || c.name == "cpuset" {
				do = "add cgroup_enable=" + c.name + " to the kernel's command line (on a Raspberry Pi in cmdline.txt), and boot"
			}
			findings = append(findings, Finding{"control groups", c.level, "controller " + c.name + " is not there", do})
		}
	}
	return findings
}

// nftVersion is what `nft --version` begins with.
var nftVersion = regexp.MustCompile(`nftables v(\d+)\.(\d+)(?:\.(\d+))?`)

// minimumNft is the oldest nft that kube-proxy works with (KEP-3866).
var minimumNft = []int{1, 0, 1}

func (h *Host) programs(ctx context.Context) []Finding {
	var findings []Finding
	for _, name := range []string{"mount", "umount"} {
		if h.Look(name) != nil {
			findings = append(findings, Finding{name, Missing, "there is no such program, which the kubelet runs", "install package mount (util-linux)"})
		} else {
			findings = append(findings, Finding{Name: name, Level: OK, Text: "it is there"})
		}
	}
	out, err := h.Run(ctx, "nft", "--version")
	version := nftVersion.FindStringSubmatch(out)
	nft := Finding{Name: "nft", Level: OK, Text: strings.TrimSpace(out)}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		nft = Finding{"nft", Missing, "there is no such program, which Services and networks need", "install package nftables"}
	case version == nil:
		nft = Finding{"nft", Warning, fmt.Sprintf("its version cannot be told: it says %q", strings.TrimSpace(out)), "1.0.1 or newer is needed"}
	case slices.Compare(numbers(version[1:]), minimumNft) < 0:
		nft.Level, nft.Do = Missing, "1.0.1 or newer is needed: install one from a newer release of the distribution"
	}
	return append(findings, nft)
}

func numbers(texts []string) (list []int) {
	for _, text := range texts {
		n, _ := strconv.Atoi(text) // no third number is 0
		list = append(list, n)
	}
	return list
}

// propagation is that of the mounts: volumes of Pods are to be seen where others
// look.
func (h *Host) propagation() Finding {
	for line := range strings.Lines(h.read("proc/self/mountinfo")) {
		fields := strings.Fields(line)
		if len(fields) < 7 || fields[4] != "/" {
			continue
		}
		if slices.ContainsFunc(fields[6:], func(s string) bool { return strings.HasPrefix(s, "shared:") }) {
			return Finding{Name: "mounts", Level: OK, Text: "the root is shared"}
		}
		return Finding{"mounts", Warning, "the root is not shared: volumes that ask for mount propagation do not work", "run `mount --make-rshared /`"}
	}
	return Finding{"mounts", Warning, "it cannot be told whether the root is shared", ""}
}

func (h *Host) swap() Finding {
	if lines := strings.Split(h.read("proc/swaps"), "\n"); len(lines) > 1 {
		return Finding{"swap", Warning, "it is on: Pods do not use it, but the system does, which makes their limits of memory vague", "run `swapoff -a`, and take it out of /etc/fstab"}
	}
	return Finding{Name: "swap", Level: OK, Text: "it is off"}
}

// otherNodes looks for programs that want to be the node, or stand in its way.
func (h *Host) otherNodes() Finding {
	comms, _ := filepath.Glob(h.path("proc/[0-9]*/comm"))
	var nodes, beside []string
	for _, file := range comms {
		name := h.read(strings.TrimPrefix(file, h.path()))
		switch name {
		case "kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent", "k0s", "rke2":
			nodes = append(nodes, name)
		case "dockerd", "containerd", "crio":
			beside = append(beside, name)
		}
	}
	slices.Sort(nodes)
	slices.Sort(beside)
	switch nodes, beside := slices.Compact(nodes), slices.Compact(beside); {
	case len(nodes) > 0:
		return Finding{"other nodes", Missing, "here runs " + strings.Join(nodes, ", ") + ", and a machine can be one node only", "stop and remove it"}
	case len(beside) > 0:
		return Finding{"other nodes", Warning, "here runs " + strings.Join(beside, ", ") + ", which skerry does not use; Docker's rules drop packets of Pods",
			"remove it, if nothing else needs it"}
	}
	return Finding{Name: "other nodes", Level: OK, Text: "there are none"}
}

// firewall looks for what filters packets with rules of its own.
func (h *Host) firewall() Finding {
	const do = "let 6443/tcp (servers; several of them 2380/tcp too), 10250/tcp, 8472/udp (51820/udp with WireGuard) and the networks of Pods and Services through, or switch it off"
	comms, _ := filepath.Glob(h.path("proc/[0-9]*/comm"))
	if slices.ContainsFunc(comms, func(file string) bool { return h.read(strings.TrimPrefix(file, h.path())) == "firewalld" }) {
		return Finding{"firewall", Warning, "firewalld runs", do}
	}
	if regexp.MustCompile(`(?m)^ENABLED=yes`).MatchString(h.read("etc/ufw/ufw.conf")) {
		return Finding{"firewall", Warning, "ufw is on", do}
	}
	return Finding{Name: "firewall", Level: OK, Text: "neither firewalld nor ufw is on"}
}

func (h *Host) clock() []Finding {
	now := h.Now()
	if now.Before(pki.Earliest()) {
		return []Finding{{"clock", Missing, "it says " + now.UTC().Format(time.DateTime) + ", which cannot be", "set it, and have systemd-timesyncd or chrony keep it"}}
	}
	if !h.InSync() {
		return []Finding{{"clock", Warning, "nobody keeps it right", "install systemd-timesyncd or chrony: certificates and leases need clocks that agree"}}
	}
	return []Finding{{Name: "clock", Level: OK, Text: "it is kept right"}}
}

// inSync asks the kernel, see adjtimex(2).
func inSync() bool {
	state, err := unix.Adjtimex(&unix.Timex{})
	return err == nil && state != unix.TIME_ERROR
}

const mebibyte = 1 << 20

// memory compares with what servers and nodes were seen to take.
func (h *Host) memory(needs Needs) Finding {
	least, good := int64(256), int64(512)
	if needs.Server {
		least, good = 384, 1536
	}
	var have int64
	for line := range strings.Lines(h.read("proc/meminfo")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemTotal:" {
			kibibytes, _ := strconv.ParseInt(fields[1], 10, 64)
			have = kibibytes >> 10
		}
	}
	f := Finding{Name: "memory", Level: OK, Text: fmt.Sprintf("there are %d MiB", have)}
	switch {
	case have == 0:
		f.Level, f.Text = Warning, "it cannot be told how much there is"
	case have < least:
		f.Level, f.Do = Missing, fmt.Sprintf("%d MiB are the least", least)
	case have < good:
		f.Level, f.Do = Warning, fmt.Sprintf("with less than %d MiB little is left for Pods", good)
	}
	return f
}

// goodRoom is what images and logs of a few Pods take, in bytes.
const goodRoom = 4 << 30

func (h *Host) room(dataDir string) Finding {
	f := Finding{Name: "disk", Level: OK}
	free, kind, err := h.Space(h.path(dataDir))
	switch {
	case err != nil:
		return Finding{"disk", Warning, fmt.Sprintf("it cannot be told how much room %s has: %v", dataDir, err), ""}
	case kind == unix.OVERLAYFS_SUPER_MAGIC:
		return Finding{"disk", Missing, dataDir + " is on an overlay file system, which cannot hold the containers' overlays", "pass --data-dir with a folder on another file system"}
	}
	f.Text = fmt.Sprintf("%s has room for %d MiB", dataDir, free/mebibyte)
	if free < goodRoom {
		f.Level, f.Do = Warning, fmt.Sprintf("%d MiB is what images and logs take soon: make room, or pass --data-dir", int64(goodRoom)/mebibyte)
	}
	return f
}

// space asks about the nearest folder that exists.
func space(dir string) (free, fileSystem int64, err error) {
	var s unix.Statfs_t
	for {
		err = unix.Statfs(dir, &s)
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Type), err
}

func nodeName(name string) Finding {
	const do = "give the machine another with `hostnamectl hostname NAME`, or pass --node-name"
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return Finding{"name", Missing, fmt.Sprintf("the node cannot be called %q: %s", name, strings.Join(msgs, "; ")), do}
	}
	if name == "localhost" {
		return Finding{"name", Missing, "the node cannot be called localhost, as every machine is", do}
	}
	return Finding{Name: "name", Level: OK, Text: "the node is called " + name}
}
