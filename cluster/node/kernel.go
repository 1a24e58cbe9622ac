package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Modules are what Pods' file systems and networks are made of. One that is
// missing may be built into the kernel; what really lacks shows where it is
// used.
var Modules = []string{"overlay", "br_netfilter", "nf_conntrack", "vxlan", "nft_ct", "nft_masq", "nft_nat", "nft_reject", "nft_numgen", "nft_fib_inet", "nft_queue"}

// sysctls are what the kubelet and the network ask of the kernel. The image
// has set them before; elsewhere they may be missing.
var sysctls = []sysctl{
	{"vm.overcommit_memory", "1"},
	{"vm.panic_on_oom", "0"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.keys.root_maxbytes", "25000000"},
	{"net.ipv4.ip_forward", "1"},
	{"net.ipv6.conf.all.forwarding", "1"},
	{"net.bridge.bridge-nf-call-iptables", "1"},
	{"net.bridge.bridge-nf-call-ip6tables", "1"},
}

// watches is how many watches of files a user's processes may have at least.
// Every kubelet, container and log reader takes some, and all of them are root's.
var watches = sysctl{"fs.inotify.max_user_instances", "8192"}

type sysctl struct{ name, value string }

func (s sysctl) path() string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(s.name, ".", "/"))
}

// Sysctls are what has to have one value, as name=value.
func Sysctls() []string {
	var list []string
	for _, s := range sysctls {
		list = append(list, s.name+"="+s.value)
	}
	return list
}

// prepareKernel loads modules and sets parameters.
func prepareKernel(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", append([]string{"-a"}, Modules...)...).CombinedOutput(); err != nil {
		slog.Debug("modprobe", "error", err, "output", strings.TrimSpace(string(out)))
	}
	for _, s := range sysctls {
		if err := s.set(func(old string) bool { return old == s.value }); err != nil {
			return err
		}
	}
	return watches.set(func(old string) bool { return atLeast(old, watches.value) })
}

// atLeast compares numbers. A parameter that is none has to be set.
func atLeast(old, want string) bool {
	have, err := strconv.Atoi(old)
	least, errLeast := strconv.Atoi(want)
	return err == nil && errLeast == nil && have >= least
}

// set gives the parameter its value, unless what it has will do.
func (s sysctl) set(does func(old string) bool) error {
	old, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		slog.Warn("the kernel has no such parameter", "name", s.name)
		return nil
	}
	if err != nil || does(strings.TrimSpace(string(old))) {
		return err
	}
	if err := os.WriteFile(s.path(), []byte(s.value), 0o644); err != nil {
		return fmt.Errorf("set kernel parameter %s to %s: %w", s.name, s.value, err)
	}
	return nil
}
