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
	"strings"
)

// modules are what Pods' file systems and networks are made of. One that is
// missing may be built into the kernel; what really lacks shows where it is
// used.
var modules = []string{"overlay", "br_netfilter", "nf_conntrack", "vxlan", "nft_ct", "nft_masq", "nft_nat", "nft_reject", "nft_numgen", "nft_fib_inet", "nft_queue"}

// sysctls are what the kubelet and the network ask of the kernel. The image
// has set them before; elsewhere they may be missing.
var sysctls = []struct{ name, value string }{
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

// prepareKernel loads modules and sets parameters.
func prepareKernel(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", append([]string{"-a"}, modules...)...).CombinedOutput(); err != nil {
		slog.Debug("modprobe", "error", err, "output", strings.TrimSpace(string(out)))
	}
	for _, s := range sysctls {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(s.name, ".", "/"))
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			slog.Warn("the kernel has no such parameter", "name", s.name)
			continue
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(old)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("set kernel parameter %s to %s: %w", s.name, s.value, err)
		}
	}
	return nil
}
