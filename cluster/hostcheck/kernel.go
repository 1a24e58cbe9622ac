package hostcheck

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/kmod"
)

// feature is something of the kernel that Pods are made of.
type feature struct {
	module string // "" if it never is one
	option string // of the kernel's configuration, without CONFIG_
	what   string
	needed func(Needs) bool // nil for always
}

// features are what the kernel has to have, found in the sources of kubelet,
// kube-proxy 1.37, flannel, runc and kube-network-policies.
var features = []feature{
	{"overlay", "OVERLAY_FS", "root file systems of containers", nil},
	{"veth", "VETH", "network of Pods", nil},
	{"bridge", "BRIDGE", "network of Pods", nil},
	{"br_netfilter", "BRIDGE_NETFILTER", "Services within a node", nil},
	{"vxlan", "VXLAN", "network between nodes", func(n Needs) bool { return n.Backend == "vxlan" }},
	{"wireguard", "WIREGUARD", "network between nodes", func(n Needs) bool { return n.Backend == "wireguard-native" }},
	{"nf_conntrack", "NF_CONNTRACK", "Services", nil},
	{"nf_conntrack_netlink", "NF_CT_NETLINK", "Services", nil},
	{"nf_tables", "NF_TABLES", "Services", nil},
	{"", "NF_TABLES_INET", "network policies", nil},
	{"", "NF_TABLES_IPV4", "Services", nil},
	{"nft_ct", "NFT_CT", "Services", nil},
	{"nft_nat", "NFT_NAT", "Services", nil},
	{"nft_masq", "NFT_MASQ", "Services", nil},
	{"nft_fib_inet", "NFT_FIB_INET", "Services", nil},
	{"nft_reject", "NFT_REJECT", "Services", nil},
	{"nft_numgen", "NFT_NUMGEN", "Services", nil},
	{"nft_queue", "NFT_QUEUE", "network policies", func(n Needs) bool { return n.Policies }},
	{"nfnetlink_queue", "NETFILTER_NETLINK_QUEUE", "network policies", func(n Needs) bool { return n.Policies }},
	{"", "SECCOMP_FILTER", "system calls of containers are filtered", nil},
	{"", "CGROUP_BPF", "devices of containers", nil},
}

// evidence is where the kernel's features are looked up.
type evidence struct {
	options map[string]string // of the kernel's configuration; nil if it is not known
	modules map[string]bool   // that can be loaded; nil if that is not known
	builtin map[string]bool   // nil if that is not known
	off     map[string]bool   // that must not be loaded
}

func (h *Host) kernel(needs Needs) []Finding {
	known := h.evidence()
	var findings []Finding
	for _, f := range features {
		if f.needed != nil && !f.needed(needs) {
			continue
		}
		if finding, ok := h.feature(f, known); ok {
			findings = append(findings, finding)
		}
	}
	return findings
}

// feature tells whether the kernel has a feature. Of one that is no module, and
// of which nothing is known, there is nothing to say.
func (h *Host) feature(f feature, known *evidence) (Finding, bool) {
	finding := Finding{Name: "kernel " + strings.ToLower(f.option), Level: OK}
	if f.module != "" {
		finding.Name = "kernel " + f.module
	}
	option, configured := known.options[f.option], known.options != nil
	switch {
	case f.module != "" && h.exists("sys/module", f.module):
		finding.Text = "it is loaded"
	case f.module != "" && known.builtin[f.module] || option == "y":
		finding.Text = "it is part of the kernel"
	case f.module == "" && !configured:
		return Finding{}, false
	case known.off[f.module]:
		finding.Level, finding.Text = Missing, "a file in modprobe.d says that it is not to be loaded"
		finding.Do = "take it out of there (`grep -r " + f.module + " /etc/modprobe.d /usr/lib/modprobe.d`); it is for " + f.what
	case known.modules[f.module]:
		finding.Text = "it is a module"
	case configured && option == "":
		finding.Level, finding.Text = Missing, "the kernel was built without CONFIG_"+f.option
		finding.Do = "take another kernel; it is for " + f.what
	case known.modules != nil && known.builtin != nil, option == "m" && known.modules != nil:
		finding.Level, finding.Text = Missing, "the running kernel, "+h.Release()+", has no such module"
		finding.Do = "install the modules of this kernel (packages linux-modules-extra, kernel-modules-extra), or boot the one whose modules are installed; it is for " + f.what
	default:
		finding.Level, finding.Text = Warning, "it cannot be told: there is neither a configuration of the kernel nor a list of modules"
		finding.Do = "it is for " + f.what
	}
	return finding, true
}

func (h *Host) evidence() *evidence {
	release := h.Release()
	known := &evidence{off: h.forbidden()}
	for _, name := range []string{"proc/config.gz", "boot/config-" + release, "lib/modules/" + release + "/config", "usr/lib/modules/" + release + "/config"} {
		if contents, err := os.ReadFile(h.path(name)); err == nil {
			if known.options = parseConfig(contents); known.options != nil {
				break
			}
		}
	}
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		if contents, err := os.ReadFile(h.path(dir, release, "modules.dep")); err == nil && known.modules == nil {
			known.modules = parseModules(contents)
		}
		if contents, err := os.ReadFile(h.path(dir, release, "modules.builtin")); err == nil && known.builtin == nil {
			known.builtin = parseModules(contents)
		}
	}
	return known
}

// maxConfig is the most that the kernel's configuration may have, in bytes.
const maxConfig = 4 << 20

// parseConfig reads a kernel's configuration, which may be compressed. It
// returns nil for what is none.
func parseConfig(contents []byte) map[string]string {
	if unpacked, err := gzip.NewReader(bytes.NewReader(contents)); err == nil {
		if contents, err = io.ReadAll(io.LimitReader(unpacked, maxConfig)); err != nil {
			return nil
		}
	}
	options := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(contents))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if option, of := strings.CutPrefix(name, "CONFIG_"); ok && of {
			options[option] = value
		}
	}
	if len(options) == 0 {
		return nil
	}
	return options
}

// parseModules reads modules.dep(5) or modules.builtin, and returns the modules'
// names.
func parseModules(contents []byte) map[string]bool {
	modules := map[string]bool{}
	for line := range strings.Lines(string(contents)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name := kmod.NameOf(file); name != "" {
			modules[name] = true
		}
	}
	return modules
}

// forbidden returns the modules for which modprobe(8) does nothing, because a
// file says "install MODULE /bin/false" (modprobe.d(5)).
func (h *Host) forbidden() map[string]bool {
	off := map[string]bool{}
	for _, dir := range []string{"lib/modprobe.d", "usr/lib/modprobe.d", "run/modprobe.d", "etc/modprobe.d"} {
		files, _ := filepath.Glob(h.path(dir, "*.conf"))
		for _, file := range files {
			for line := range strings.Lines(h.read(strings.TrimPrefix(file, h.path()))) {
				fields := strings.Fields(line)
				if len(fields) >= 3 && fields[0] == "install" && slices.Contains([]string{"true", "false"}, path.Base(fields[2])) {
					off[kmod.Normalize(fields[1])] = true
				}
			}
		}
	}
	return off
}

func kernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
