//go:build rootful

package mount

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs body in a process with a mount namespace of its own, whose
// mounts reach nobody and end with it. dir is empty. It needs root.
func inNamespace(t *testing.T, body func(t *testing.T, dir string)) {
	t.Helper()
	const inside = "SKERRY_TEST_MOUNT_NAMESPACE"
	if name, dir, found := strings.Cut(os.Getenv(inside), ":"); found && name == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		body(t, dir)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name()+":"+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a mount namespace: %v\n%s", err, out)
	}
}

// script is a list of command lines; @ stands for the directory they work in.
type script []string

// The same command lines are given to the host's mount(8) and to ours, and
// /proc/self/mountinfo must then be the same. That a remount keeps flags when
// source and target are given is the one difference (see the package comment);
// scripts here have none of it.
func TestMountsAreThoseOfMount8(t *testing.T) {
	inNamespace(t, func(t *testing.T, dir string) {
		base := dir
		// A tmpfs of our own: what is below is a plain parent for both.
		if err := unix.Mount("base", base, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		for i, s := range []script{
			{"mount -t tmpfs -o size=1m,nosuid,nodev,noexec,mode=0700 x @/a"},
			{"mount -t tmpfs x @/a -o ro,noatime,nodiratime"},
			{"mount -t tmpfs -o strictatime,dirsync,sync,lazytime,nosymfollow x @/a"},
			{"mount -t tmpfs -o noatime,relatime x @/a"},
			{"mount -t tmpfs -o relatime,noatime x @/a"},
			{"mount -t tmpfs -o user,_netdev,nofail,x-y=1,comment=z x @/a"},
			{"mount -t tmpfs -o nosuid,nodev,noexec x @/a", "mount --bind @/a @/b", "mount -o bind,remount,ro @/b"},
			{"mount -t tmpfs -o nosuid,nodev,noexec,ro x @/a", "mount -o bind @/a @/b", "mount -o bind,remount,rw,exec @/b"},
			{"mount -t tmpfs -o nosuid x @/a", "mount -o remount,nodev,size=2m @/a", "mount -o remount,ro @/a"},
			{"mount -t tmpfs -o noatime x @/a", "mount -o remount,nosuid @/a"},
			{"mount -t tmpfs -o strictatime x @/a", "mount -o remount,bind,nosuid @/a"},
			{"mount -t tmpfs -o sync,nodev x @/a", "mount -o remount,noexec @/a"},
			{"mount -t tmpfs x @/a", "mount --bind -r @/a @/b"},
			{"mount -t tmpfs x @/a", "mount -o bind,noexec,nosuid @/a @/b"},
			{"mount -t tmpfs x @/a", "mount --make-rshared @/a", "mount --bind @/a @/b", "mount --make-rslave @/b"},
			{"mount -t tmpfs x @/a", "mount --make-shared @/a", "mount --rbind --make-private @/a @/b"},
			{"mount -t tmpfs x @/a", "mount --make-unbindable @/a", "mount --bind @/a @/b"},
			{"mount -t tmpfs x @/a", "mount --move @/a @/b"},
			{"mount -t tmpfs x @/a", "mount -t tmpfs y @/a", "umount @/a"},
			{"mount -t tmpfs x @/a", "mount --rbind @/a @/b", "umount -l @/b", "umount -f @/a"},
			{"mount -t tmpfs x @/a", "mount -t tmpfs y @/b", "umount -R @/a", "umount @/a @/b"},
			{"mount -o loop @/ext4.img @/a"},
			{"mount @/ext4.img @/a", "umount @/ext4.img"},
			{"mount -t ext4 -o ro,noload @/ext4.img @/a"},
			{"mount -o loop,ro -t auto @/vfat.img @/a"},
			{"mount -o loop @/ext4.img @/a", "mount -o loop @/ext4.img @/b"},
			{"umount @/a"},
			{"umount @/none"},
			{"mount -t bogusfs x @/a"},
			{"mount -t tmpfs x @/none"},
			{"mount --bind @/none @/a"},
			{"mount -o loop @/text @/a"},
			{"mount @/a @/b"},
			{"mount -t tmpfs -o nosuchoption=1 x @/a"},
			{"mount -o remount,ro @/a"},
			{"mount --nosuchoption @/a"},
			{"mount @/a"},
			{"umount"},
		} {
			theirs, ours := filepath.Join(base, fmt.Sprint(i), "w"), filepath.Join(base, fmt.Sprint(i), "o")
			wantExits, want := s.run(t, theirs, func(words []string) int {
				cmd := exec.Command(words[0], words[1:]...)
				out, _ := cmd.CombinedOutput()
				t.Logf("%s: %s", words, out)
				return cmd.ProcessState.ExitCode()
			})
			exits, got := s.run(t, ours, func(words []string) int {
				var out bytes.Buffer
				program := Mount
				if words[0] == "umount" {
					program = Umount
				}
				exit := program(words[1:], &out, &out)
				t.Logf("ours %s: %s", words, out.String())
				return exit
			})
			if !slices.Equal(exits, wantExits) {
				t.Errorf("%s: exits %v, mount(8) %v", s, exits, wantExits)
			}
			if got != want {
				t.Errorf("%s:\nours:\n%s\nmount(8):\n%s", s, got, want)
			}
		}
	})
}

// run runs the script in a fresh directory and returns exit statuses and what
// mountinfo says of the directory, without what differs between runs.
func (s script) run(t *testing.T, dir string, run func(words []string) int) ([]int, string) {
	t.Helper()
	for _, sub := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("no file system here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"ext4.img": {"mke2fs", "-q", "-t", "ext4"},
		"vfat.img": {"mkfs.vfat"},
	} {
		if !strings.Contains(strings.Join(s, " "), name) {
			continue
		}
		image := filepath.Join(dir, name)
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 8<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(tool(t, args[0]), append(args[1:], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	var exits []int
	for _, line := range s {
		exits = append(exits, run(strings.Fields(strings.ReplaceAll(line, "@", dir))))
	}
	infos, err := Linux{}.MountInfo()
	if err != nil {
		t.Fatal(err)
	}
	var state []string
	for _, info := range infos {
		if !strings.HasPrefix(info.Target, dir+"/") {
			continue
		}
		var kinds []string
		for _, tag := range info.Tags {
			kind, _, _ := strings.Cut(tag, ":")
			kinds = append(kinds, kind)
		}
		source := info.Source
		if strings.HasPrefix(source, "/dev/loop") {
			source = "/dev/loop"
		}
		state = append(state, fmt.Sprint(strings.TrimPrefix(info.Target, dir), " ", info.Options, " ", kinds, " ", info.Type, " ", source, " ", info.SuperOptions))
	}
	for i := len(infos) - 1; i >= 0; i-- {
		if strings.HasPrefix(infos[i].Target, dir+"/") {
			unix.Unmount(infos[i].Target, unix.MNT_DETACH)
		}
	}
	return exits, strings.Join(state, "\n")
}

func TestRemountWithSourceKeepsFlags(t *testing.T) {
	inNamespace(t, func(t *testing.T, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		for _, d := range []string{a, b} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		for _, line := range []string{
			"-t tmpfs -o nosuid,nodev,noexec x " + a,
			"-o bind " + a + " " + b,
			"-o bind,remount,ro " + a + " " + b,
		} {
			if exit := Mount(strings.Fields(line), &out, &out); exit != 0 {
				t.Fatalf("mount %s: exit %d, %s", line, exit, out.String())
			}
		}
		infos, err := Linux{}.MountInfo()
		if err != nil {
			t.Fatal(err)
		}
		info, _ := at(infos, b)
		if info.Options != "ro,nosuid,nodev,noexec,relatime" {
			t.Errorf("options are %s", info.Options)
		}
		if info, _ := at(infos, a); info.Options != "rw,nosuid,nodev,noexec,relatime" {
			t.Errorf("the source's options became %s", info.Options)
		}
		// kubelet's subpath mounts name their source by a descriptor.
		fd, err := unix.Open(a, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("--no-canonicalize -o bind /proc/self/fd/%d %s", fd, b)
		if exit := Mount(strings.Fields(line), &out, &out); exit != 0 {
			t.Errorf("mount %s: exit %d, %s", line, exit, out.String())
		}
	})
}

func TestRootTableOnARealKernelTwice(t *testing.T) {
	inNamespace(t, func(t *testing.T, dir string) {
		root := dir
		if err := unix.Mount("newroot", root, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"proc", "sys", "dev", "run", "tmp", "etc"} {
			if err := os.Mkdir(filepath.Join(root, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chroot(root); err != nil {
			t.Fatal(err)
		}
		if err := os.Chdir("/"); err != nil {
			t.Fatal(err)
		}
		for round, want := range []Outcome{Mounted, WasMounted} {
			results, err := Apply(Linux{}, "/", RootTable())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				t.Logf("%s: %s %v", r.Step, r.Outcome, r.Err)
				if r.Step.Type != "" && !r.Step.Optional && r.Outcome != want {
					t.Errorf("round %d: %s: %s, want %s", round, r.Step, r.Outcome, want)
				}
			}
		}
		if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
			t.Errorf("/etc is not writable: %v", err)
		}
		if _, err := os.Stat(etcUpper + "/resolv.conf"); err != nil {
			t.Errorf("what is written to /etc is not in memory: %v", err)
		}
		if hosts, err := os.ReadFile("/etc/hosts"); err != nil || len(hosts) == 0 {
			t.Errorf("/etc lost the root's own files: %v", err)
		}
		infos, err := Linux{}.MountInfo()
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			if len(info.Tags) == 0 || !strings.HasPrefix(info.Tags[0], "shared:") {
				t.Errorf("%s is not shared: %v", info.Target, info.Tags)
			}
		}
	})
}

// A tmpfs entered by chroot(2) stands for the initramfs: its root is the root
// of a mount, in memory, as rootfs is.
func TestSwitchRootMovesAndFrees(t *testing.T) {
	inNamespace(t, func(t *testing.T, dir string) {
		old := dir
		if err := unix.Mount("initramfs", old, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chroot(old); err != nil {
			t.Fatal(err)
		}
		if err := os.Chdir("/"); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/root", "/kept", "/lib/modules/6.12"} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"/init", "/lib/modules/6.12/x.ko"} {
			if err := os.WriteFile(file, make([]byte, 1<<20), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Apply(Linux{}, "/", InitramfsTable()); err != nil {
			t.Fatal(err)
		}
		if err := SwitchRoot("/root"); err == nil || !strings.Contains(err.Error(), "not a mount point") {
			t.Fatalf("a plain directory as root: %v", err)
		}
		for target, source := range map[string]string{"/root": "newroot", "/kept": "other"} {
			if err := unix.Mount(source, target, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
		}
		// A bind mount of the initramfs itself has its device number.
		for _, dir := range []string{"/bind", "/shown"} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"/kept/file", "/shown/file"} {
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Mount("/kept", "/bind", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"proc", "sys", "dev", "run"} {
			if err := os.Mkdir("/root/"+sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile("/root/marker", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		oldRoot, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.Open("/kept")
		if err != nil {
			t.Fatal(err)
		}
		if err := SwitchRoot("/root"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/marker"); err != nil {
			t.Errorf("/ is not the new root: %v", err)
		}
		infos, err := Linux{}.MountInfo()
		if err != nil {
			t.Fatal(err)
		}
		for target, fstype := range map[string]string{"/": "tmpfs", "/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/run": "tmpfs"} {
			if info, _ := at(infos, target); info.Type != fstype {
				t.Errorf("%s is %q, want %s", target, info.Type, fstype)
			}
		}
		names, err := oldRoot.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		if want := []string{"bind", "kept"}; !slices.Equal(names, want) {
			t.Errorf("left in the initramfs: %v, want only mount points %v", names, want)
		}
		if names, _ := kept.Readdirnames(-1); len(names) != 1 {
			t.Errorf("a mounted file system was emptied: %v", names)
		}
	})
}
