package sysctl

// Defaults returns the parameters of every node, in the order they are to be
// written. Those of net.bridge and net.netfilter exist once their modules are
// loaded.
func Defaults() []Setting {
	return []Setting{
		// What kubelet demands under --protect-kernel-defaults (1.37, pkg/kubelet/cm
		// and pkg/util/sysctl): it refuses to start on any other value.
		{"vm.overcommit_memory", "1"}, // memory is bounded by cgroups, not by promises
		{"vm.panic_on_oom", "0"},      // an out-of-memory kill is a pod's end, not the node's
		{"kernel.panic", "10"},        // seconds: long enough to read the screen, then the default slot
		{"kernel.panic_on_oops", "1"}, // a node on a broken kernel must not go on writing
		{"kernel.keys.root_maxkeys", "1000000"},
		{"kernel.keys.root_maxbytes", "25000000"}, // 25 bytes a key; each container has a session keyring

		// Pods are reached through the node.
		{"net.ipv4.ip_forward", "1"},
		// Writing ipv6 conf/all/forwarding switches every interface to forwarding,
		// and a forwarding interface with accept_ra=1 drops its default route when
		// the next router advertisement is due. 2 means: accept although forwarding.
		// default is for interfaces to come; the kernel takes nothing over from
		// conf/all/accept_ra, so those that exist are named by the pattern.
		{"net.ipv6.conf.default.accept_ra", "2"},
		{"net.ipv6.conf.*.accept_ra", "2"},
		{"net.ipv6.conf.all.forwarding", "1"},
		{"net.ipv6.conf.default.forwarding", "1"},
		// Traffic between pods of one node passes the bridge; without these the
		// service and policy rules never see it.
		{"net.bridge.bridge-nf-call-iptables", "1"},
		{"net.bridge.bridge-nf-call-ip6tables", "1"},
		// A pod's answer may leave by another interface than its question came
		// from. Loose mode still drops addresses that nothing routes to.
		{"net.ipv4.conf.default.rp_filter", "2"},
		{"net.ipv4.conf.all.rp_filter", "2"},

		// kubelet, containerd and every log reader watch files; the kernel's 128
		// instances a user run out at some thirty pods, all of them root's.
		{"fs.inotify.max_user_instances", "8192"},
		{"fs.inotify.max_user_watches", "524288"},

		// Nobody on a node needs kernel addresses or the kernel log but root, and
		// pods are not the node's root.
		{"kernel.kptr_restrict", "2"},
		{"kernel.dmesg_restrict", "1"},
		{"kernel.unprivileged_bpf_disabled", "1"}, // cannot be loosened until reboot
		{"net.core.bpf_jit_harden", "1"},
		{"kernel.perf_event_paranoid", "3"}, // 3 is Debian's own: no use without privilege
		{"kernel.yama.ptrace_scope", "1"},
		{"kernel.kexec_load_disabled", "1"}, // cannot be loosened: an unsigned kernel must not follow a verified one
		{"kernel.sysrq", "0"},               // a keyboard in a shop is not the operator's
		{"kernel.ctrl-alt-del", "0"},        // the agent gets a signal and shuts down in order
		{"dev.tty.ldisc_autoload", "0"},     // line disciplines are modules that no node uses
		{"vm.unprivileged_userfaultfd", "0"},

		// Links, FIFOs and files in world-writable sticky directories: the classic
		// ways to make a privileged program write where it did not mean to.
		{"fs.protected_symlinks", "1"},
		{"fs.protected_hardlinks", "1"},
		{"fs.protected_fifos", "2"},
		{"fs.protected_regular", "2"},

		// A core file holds a process's secrets and fills data. The kernel opens no
		// file for a pattern with a pipe, and the program named does not exist.
		{"fs.suid_dumpable", "0"},
		{"kernel.core_pattern", "|/bin/false"},

		// Nothing on a node routes by what a stranger tells it.
		{"net.ipv4.conf.all.accept_redirects", "0"},
		{"net.ipv4.conf.default.accept_redirects", "0"},
		{"net.ipv4.conf.all.send_redirects", "0"},
		{"net.ipv4.conf.default.send_redirects", "0"},
		{"net.ipv4.conf.all.accept_source_route", "0"},
		{"net.ipv4.conf.default.accept_source_route", "0"},
		{"net.ipv6.conf.all.accept_redirects", "0"},
		{"net.ipv6.conf.default.accept_redirects", "0"},
	}
}
