package mount

import "golang.org/x/sys/unix"

const (
	closed   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	etcUpper = "/run/skerry/etc/upper"
	etcWork  = "/run/skerry/etc/work"
)

// pseudo is what both stages need. The initramfs stage mounts it and moves it
// to the root, so its options must be the final ones.
func pseudo() []Step {
	return []Step{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: closed},
		{Source: "sysfs", Target: "/sys", Type: "sysfs", Flags: closed},
		// Devices are what it is for; programs and set-user-ID are not.
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "mode=0755"},
		// Sockets and the state of running containers: a fifth of memory is the
		// field's bound. Inodes are bounded too, as each costs about 1 KiB.
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: closed, Data: "mode=0755,size=20%,nr_inodes=800k"},
	}
}

// InitramfsTable returns what the initramfs stage mounts. The targets must exist
// in the initramfs.
func InitramfsTable() []Step { return pseudo() }

// RootTable returns what the root stage mounts, data not included. It
// is closed: debugfs, tracefs and hugetlbfs are left out, because nothing on a
// node reads them and the first two tell a pod that gets at /sys about the
// kernel; programs that trace mount them themselves.
func RootTable() []Step {
	return append([]Step{
		// kubelet and containerd want mounts made by volume drivers in pods to
		// reach the node. It comes first: mounts below a shared one are shared. It
		// cannot come in the initramfs: a shared root cannot be moved.
		{Target: "/", Flags: unix.MS_SHARED | unix.MS_REC},
	}, append(pseudo(), []Step{
		// 5 is tty's group in every Debian system; programs write to their own
		// terminal only.
		{Source: "devpts", Target: "/dev/pts", Type: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "gid=5,mode=0620,ptmxmode=0666", Make: []string{"/dev/pts"}},
		// Containers have their own; 64 MiB is what a container gets.
		{Source: "tmpfs", Target: "/dev/shm", Type: "tmpfs", Flags: closed, Data: "mode=1777,size=64m", Make: []string{"/dev/shm"}},
		{Source: "mqueue", Target: "/dev/mqueue", Type: "mqueue", Flags: closed, Make: []string{"/dev/mqueue"}, Optional: true},
		{Source: "tmpfs", Target: "/tmp", Type: "tmpfs", Flags: closed, Data: "mode=1777,size=10%,nr_inodes=400k"},
		// nsdelegate: a container's cgroup namespace is a border to the kernel too.
		// memory_recursiveprot: memory.min of a pod protects what is in it.
		{Source: "cgroup2", Target: "/sys/fs/cgroup", Type: "cgroup2", Flags: closed, Data: "nsdelegate,memory_recursiveprot"},
		{Source: "securityfs", Target: "/sys/kernel/security", Type: "securityfs", Flags: closed, Needs: "/sys/kernel/security", Optional: true},
		{Source: "bpf", Target: "/sys/fs/bpf", Type: "bpf", Flags: closed, Data: "mode=0700", Needs: "/sys/fs/bpf", Optional: true},
		// Writable: the slot to try next is an EFI variable. The kernel makes the
		// mount point where the firmware has variables. The type is a module.
		{Source: "efivarfs", Target: "/sys/firmware/efi/efivars", Type: "efivarfs", Flags: closed, Needs: "/sys/firmware/efi/efivars", Optional: true},
		EtcOverlay(),
	}...)...)
}

// EtcOverlay is /etc for the time of one boot: what the agent writes there
// (resolv.conf, hosts, files of the node config) lies in memory over the root's
// own, and a reboot starts from the verified files again. Both directories of
// the upper layer must be on one file system.
func EtcOverlay() Step {
	return Step{
		Source: "overlay", Target: "/etc", Type: "overlay", Flags: closed,
		Data: "lowerdir=/etc,upperdir=" + etcUpper + ",workdir=" + etcWork,
		Make: []string{etcUpper, etcWork},
	}
}
