package mount

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The command lines are those that kubelet (k8s.io/mount-utils, MakeMountArgs
// and MakeBindOpts) and volume drivers build; the calls are what strace shows of
// mount(8) of util-linux 2.38, but for the flags a remount keeps.
func TestMountCalls(t *testing.T) {
	for line, want := range map[string][]string{
		"-t tmpfs -o size=1m,nosuid,nodev,noexec,mode=0700 tmpfs /src": {
			`mount("tmpfs", "/src", "tmpfs", NOSUID|NODEV|NOEXEC, "size=1m,mode=0700")`},
		"-t tmpfs tmpfs /src -o ro -o size=1m": {`mount("tmpfs", "/src", "tmpfs", RDONLY, "size=1m")`},
		"-ttmpfs -oro,rw tmpfs /src":           {`mount("tmpfs", "/src", "tmpfs", , "")`},
		"-nvt tmpfs -r -- tmpfs /src":          {`mount("tmpfs", "/src", "tmpfs", RDONLY, "")`},
		"--types=tmpfs --source tmpfs --target=/src --options noatime": {
			`mount("tmpfs", "/src", "tmpfs", NOATIME, "")`},
		"-t tmpfs -o defaults,auto,nofail,user,_netdev,x-foo=1,comment=bar,lazytime,silent,sync,dirsync,mand,iversion,strictatime,nodiratime,nosymfollow none /src": {
			`mount("none", "/src", "tmpfs", NOSUID|NODEV|NOEXEC|SYNC|MAND|DIRSYNC|NOSYMFOLLOW|NODIRATIME|SILENT|IVERSION|STRICTATIME|LAZYTIME, "")`},
		"-t tmpfs -o user,exec tmpfs /src":    {`mount("tmpfs", "/src", "tmpfs", NOSUID|NODEV, "")`},
		`-t tmpfs -o a="x,ro",b tmpfs /src`:   {`mount("tmpfs", "/src", "tmpfs", , "a=\"x,ro\",b")`},
		"-t tmpfs -o ro=recursive x /src":     {`mount("x", "/src", "tmpfs", , "ro=recursive")`},
		"-t overlay -o lowerdir=/a:/b o /src": {`mount("o", "/src", "overlay", , "lowerdir=/a:/b")`},

		// kubelet's bind mount is two calls of mount(8), source and target in both.
		"-o bind /src /dst": {`mount("/src", "/dst", "", BIND, "")`},
		"--bind /src /dst":  {`mount("/src", "/dst", "", BIND, "")`},
		"--no-canonicalize -o bind,_netdev /proc/9/fd/7 /dst": {`mount("/proc/9/fd/7", "/dst", "", BIND, "")`},
		"--rbind /src /dst":                                    {`mount("/src", "/dst", "", BIND|REC, "")`},
		"-o bind,remount,ro /src /dst":                         {`mount("tmpfs", "/dst", "", RDONLY|NOSUID|NODEV|NOEXEC|REMOUNT|BIND|RELATIME, "")`},
		"-o bind,remount,ro /dst":                              {`mount("tmpfs", "/dst", "", RDONLY|NOSUID|NODEV|NOEXEC|REMOUNT|BIND|RELATIME, "")`},
		"-o bind,remount /src /dst":                            {`mount("tmpfs", "/dst", "", NOSUID|NODEV|NOEXEC|REMOUNT|BIND|RELATIME, "")`},
		"-o bind,remount,exec,dev,noatime,size=3 /dst":         {`mount("tmpfs", "/dst", "", NOSUID|REMOUNT|NOATIME|BIND, "")`},
		"-o remount,bind,ro /strict":                           {`mount("/dev/sda1", "/strict", "", RDONLY|REMOUNT|NODIRATIME|BIND|STRICTATIME, "")`},
		"-o remount,ro /strict":                                {`mount("/dev/sda1", "/strict", "", RDONLY|SYNC|REMOUNT|NODIRATIME|STRICTATIME|LAZYTIME, "")`},
		"-o remount,async,relatime,commit=9 /dev/sda1 /strict": {`mount("/dev/sda1", "/strict", "", REMOUNT|NODIRATIME|RELATIME|LAZYTIME, "commit=9")`},
		"-o remount,noatime /ro":                               {`mount("/dev/sda1", "/ro", "", RDONLY|REMOUNT|NOATIME, "")`},
		"-o remount,rw /ro":                                    {`mount("/dev/sda1", "/ro", "", REMOUNT|RELATIME, "")`},
		"-o bind,ro /src /dst": {
			`mount("/src", "/dst", "", BIND, "")`,
			`mount("", "/dst", "", RDONLY|NOSUID|NODEV|NOEXEC|REMOUNT|BIND|RELATIME, "")`},
		"-r --bind /src /dst": {
			`mount("/src", "/dst", "", BIND, "")`,
			`mount("", "/dst", "", RDONLY|NOSUID|NODEV|NOEXEC|REMOUNT|BIND|RELATIME, "")`},
		"--make-rshared /":            {`mount("", "/", "", REC|SHARED, "")`},
		"--make-rslave /dst":          {`mount("", "/dst", "", REC|SLAVE, "")`},
		"--make-private /dst":         {`mount("", "/dst", "", PRIVATE, "")`},
		"--make-unbindable /dst":      {`mount("", "/dst", "", UNBINDABLE, "")`},
		"-o bind,rslave /src /dst":    {`mount("/src", "/dst", "", BIND, "")`, `mount("", "/dst", "", REC|SLAVE, "")`},
		"--rbind --make-rslave /a /b": {`mount("/a", "/b", "", BIND|REC, "")`, `mount("", "/b", "", REC|SLAVE, "")`},
		"--make-shared --bind /a /b":  {`mount("/a", "/b", "", BIND, "")`, `mount("", "/b", "", SHARED, "")`},
		"--move /a /b":                {`mount("/a", "/b", "", MOVE, "")`},
		"-M /a /b":                    {`mount("/a", "/b", "", MOVE, "")`},

		"/dev/sda1 /dst":                                               {`mount("/dev/sda1", "/dst", "ext4", , "")`},
		"-t auto /dev/disk/by-id/x /dst":                               nil, // not a file of the fixture: below
		"-t ext4 -o defaults /dev/sda1 /dst":                           {`mount("/dev/sda1", "/dst", "ext4", , "")`},
		"-o loop /disk.img /dst":                                       {`loop("/disk.img", {device: offset:0 sizeLimit:0 readOnly:false onlyExisting:false})`, `mount("/dev/loop7", "/dst", "squashfs", , "")`, "loop released"},
		"-t squashfs /disk.img /dst":                                   {`loop("/disk.img", {device: offset:0 sizeLimit:0 readOnly:false onlyExisting:false})`, `mount("/dev/loop7", "/dst", "squashfs", , "")`, "loop released"},
		"-o loop=/dev/loop9,ro,offset=1M,sizelimit=512 /disk.img /dst": {`loop("/disk.img", {device:/dev/loop9 offset:1048576 sizeLimit:512 readOnly:true onlyExisting:false})`, `mount("/dev/loop7", "/dst", "squashfs", RDONLY, "")`, "loop released"},
		"-t nfs -o vers=4.1,ro srv:/export /dst":                       {`mount("srv:/export", "/dst", "nfs", RDONLY, "vers=4.1")`},
		"-t glusterfs srv:/vol /dst":                                   {`mount("srv:/vol", "/dst", "glusterfs", , "")`},
		"-t tmpfs,ext4 -o size=1m tmpfs /dst":                          {`mount("tmpfs", "/dst", "tmpfs", , "size=1m")`},
	} {
		r := newRecorder()
		if line == "-t auto /dev/disk/by-id/x /dst" {
			r.files["/dev/disk/by-id/x"] = fs.ModeDevice
			want = []string{`mount("/dev/sda1", "/dst", "ext4", , "")`}
		}
		r.mounted = func(string) uint64 { return 0 }
		if exit, _, stderr := r.runMount(line); exit != 0 || stderr != "" {
			t.Errorf("%s: exit %d, %s", line, exit, stderr)
		}
		r.expect(t, line, want...)
	}
}

func TestUsageErrorsMountNothing(t *testing.T) {
	for line, part := range map[string]string{
		"--badopt /a /b":                     "unrecognized option '--badopt'",
		"--bin /a /b":                        "unrecognized option '--bin'",
		"-x /a /b":                           "invalid option -- 'x'",
		"-nZ /a /b":                          "invalid option -- 'Z'",
		"-t":                                 "-t needs a value",
		"--options":                          "--options needs a value",
		"--bind=yes /a /b":                   "takes no value",
		"-o ro":                              "nothing to mount",
		"/a":                                 "can't find in /etc/fstab",
		"-o bind /a":                         "can't find in /etc/fstab",
		"-t tmpfs /a":                        "can't find in /etc/fstab",
		"/a /b /c":                           `unexpected argument`,
		"LABEL=x /a":                         "name the device",
		"-a":                                 "invalid option -- 'a'",
		"-o X-mount.idmap=b /a /b":           "X-mount.idmap is not supported",
		"-o verity.roothash=1 /a /b":         "not supported",
		"-o loop,offset=1x /a /b":            "not a number of bytes",
		"-o offset=99999999999999999T /a /b": "not a number of bytes",
		"-o move,bind /a /b":                 "no other operation",
		"-t noext4 /dev/sda1 /dst":           "not supported",
		"-t tmpfs -o loop tmpfs /dst":        "needs no block device",
	} {
		r := newRecorder()
		exit, stdout, stderr := r.runMount(line)
		if exit != exitUsage || !strings.Contains(stderr, part) || stdout != "" {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want 1 and %q", line, exit, stdout, stderr, part)
		}
		r.expect(t, line)
	}
}

func TestFailuresSayWhatFailed(t *testing.T) {
	for _, c := range []struct {
		line string
		err  error
		want string
	}{
		{"-t tmpfs tmpfs /none", unix.ENOENT, "mount: /none: mount point does not exist."},
		{"--bind /none /dst", unix.ENOENT, "mount: /dst: special device /none does not exist."},
		{"-t bogus foo /dst", unix.ENODEV, "mount: /dst: unknown filesystem type 'bogus' (no kernel module for it)."},
		{"-t ext4 /dev/sda1 /dst", unix.EBUSY, "mount: /dst: /dev/sda1 already mounted or mount point busy."},
		{"-o remount,ro /dst", unix.EBUSY, "mount: /dst: mount point is busy: something writes to it."},
		{"-t tmpfs -o badopt=3 tmpfs /dst", unix.EINVAL, "mount: /dst: wrong fs type, bad option, bad superblock on tmpfs,"},
		{"-t nfs srv:/x /dst", unix.EINVAL, "/sbin/mount.nfs"},
		{"--make-shared /dst", unix.EINVAL, "mount: /dst: not mount point or bad option."},
		{"-t ext4 /dev/sda1 /dst", unix.ENOTBLK, "mount: /dst: /dev/sda1 is not a block device."},
		{"-t tmpfs tmpfs /dst", unix.EPERM, "mount: /dst: permission denied."},
		{"-t tmpfs tmpfs /dst", unix.ENOSPC, "no space left on device"},
		{"-o loop /disk.img /dst", unix.EBUSY, "failed to setup loop device for /disk.img"},
	} {
		r := newRecorder()
		r.refuse = func(string) error { return c.err }
		exit, _, stderr := r.runMount(c.line)
		if exit != exitFailure || !strings.Contains(stderr, c.want) {
			t.Errorf("%s with %v: exit %d, %q; want 32 and %q", c.line, c.err, exit, stderr, c.want)
		}
	}
	for line, want := range map[string]string{
		"-o remount,ro /src":      "mount: /src: not mount point or bad option.",
		"-o bind,remount,ro /src": "mount: /src: not mount point or bad option.",
		"/src /dst":               "mount: /dst: /src is not a block device.",
		"/dev/zero /dst":          "mount: /dst: /dev/zero is not a block device.",
		"/none /dst":              "mount: /dst: special device /none does not exist.",
		"-o loop /src /dst":       "it is not a regular file",
	} {
		r := newRecorder()
		exit, _, stderr := r.runMount(line)
		if exit != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %q; want 32 and %q", line, exit, stderr, want)
		}
		r.expect(t, line)
	}
	r := newRecorder()
	r.types["/dev/sda1"] = ""
	if exit, _, stderr := r.runMount("/dev/sda1 /dst"); exit != exitFailure || !strings.Contains(stderr, "give its type") {
		t.Errorf("unknown superblock: exit %d, %q", exit, stderr)
	}
}

func TestBindThatDidNotBecomeReadOnlyDoesNotStay(t *testing.T) {
	r := newRecorder()
	r.refuse = func(call string) error {
		if strings.Contains(call, "REMOUNT") {
			return unix.EPERM
		}
		return nil
	}
	exit, _, _ := r.runMount("-o bind,ro /src /dst")
	if exit != exitFailure {
		t.Errorf("exit %d, want 32", exit)
	}
	if last := r.calls[len(r.calls)-1]; last != `umount("/dst", 2)` {
		t.Errorf("the writable bind mount stays: last call is %s", last)
	}
}

func TestWriteProtectedDeviceIsMountedReadOnlyWithAWarning(t *testing.T) {
	r := newRecorder()
	r.refuse = func(call string) error {
		if strings.Contains(call, "RDONLY") {
			return nil
		}
		return unix.EROFS
	}
	exit, _, stderr := r.runMount("-t ext4 /dev/sda1 /dst")
	if exit != 0 || !strings.Contains(stderr, "mounted read-only") {
		t.Errorf("exit %d, %q", exit, stderr)
	}
}

func TestTypeProgramIsUsedWhenPresent(t *testing.T) {
	r := newRecorder()
	r.files["/sbin/mount.nfs"] = 0o755
	r.files["/sbin/mount.fuse"] = 0o755
	for line, want := range map[string]string{
		"-t nfs -o ro,vers=4.1,nofail,x-y,noatime,_netdev srv:/e /dst": "run(/sbin/mount.nfs srv:/e /dst -o ro,vers=4.1,noatime,_netdev)",
		"-t nfs -v srv:/e /dst":             "run(/sbin/mount.nfs srv:/e /dst -v -o rw)",
		"-t fuse.sshfs h: /dst":             "run(/sbin/mount.fuse h: /dst -o rw -t fuse.sshfs)",
		"-i -t nfs -o vers=4.1 srv:/e /dst": `mount("srv:/e", "/dst", "nfs", , "vers=4.1")`,
	} {
		r.ran = nil
		if exit, _, stderr := r.runMount(line); exit != 0 {
			t.Errorf("%s: exit %d, %s", line, exit, stderr)
		}
		r.expect(t, line, want)
	}
	r.ran = func([]string) int { return 32 }
	if exit, _, _ := r.runMount("-t nfs --make-private srv:/e /dst"); exit != 32 || len(r.calls) != 1 {
		t.Errorf("a failing mount.nfs: exit %d, calls %q; want its 32 and nothing after it", exit, r.calls)
	}
	r.refuse = func(string) error { return fs.ErrPermission }
	if exit, _, stderr := r.runMount("-t nfs srv:/e /dst"); exit != exitSystem || !strings.Contains(stderr, "/sbin/mount.nfs") {
		t.Errorf("a mount.nfs that cannot run: exit %d, %q", exit, stderr)
	}
}

func TestListOfTypesTriesEach(t *testing.T) {
	r := newRecorder()
	r.refuse = func(call string) error {
		if strings.Contains(call, `"ext4"`) {
			return unix.EINVAL
		}
		return nil
	}
	if exit, _, stderr := r.runMount("-t ext4,squashfs /dev/sda1 /dst"); exit != 0 {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	r.expect(t, "-t ext4,squashfs", `mount("/dev/sda1", "/dst", "ext4", , "")`, `mount("/dev/sda1", "/dst", "squashfs", , "")`)
}

func TestListFormat(t *testing.T) {
	r := newRecorder()
	for line, want := range map[string]string{
		"": "/dev/mapper/root on / type erofs (ro,relatime)\n" +
			"tmpfs on /dst type tmpfs (rw,nosuid,nodev,noexec,relatime,size=1024k)\n" +
			"/dev/sda1 on /strict type ext4 (rw,nodiratime,sync,lazytime)\n" +
			"/dev/sda1 on /ro type ext4 (ro,relatime)\n",
		"-l -t tmpfs":     "tmpfs on /dst type tmpfs (rw,nosuid,nodev,noexec,relatime,size=1024k)\n",
		"-t noext4,erofs": "tmpfs on /dst type tmpfs (rw,nosuid,nodev,noexec,relatime,size=1024k)\n",
	} {
		if exit, stdout, _ := r.runMount(line); exit != 0 || stdout != want {
			t.Errorf("mount %s: exit %d\n%s\nwant\n%s", line, exit, stdout, want)
		}
	}
}

func TestUmount(t *testing.T) {
	for line, want := range map[string][]string{
		"/dst":          {`umount("/dst", 0)`},
		"-f /dst":       {`umount("/dst", 1)`},
		"-l /dst":       {`umount("/dst", 2)`},
		"-fl /dst /ro":  {`umount("/dst", 3)`, `umount("/ro", 3)`},
		"-c -n -d /dst": {`umount("/dst", 0)`},
	} {
		r := newRecorder()
		if exit, _, stderr := r.runUmount(line); exit != 0 || stderr != "" {
			t.Errorf("umount %s: exit %d, %s", line, exit, stderr)
		}
		r.expect(t, line, want...)
	}
}

// kubelet looks for "not mounted" in the output (mount-utils,
// detectSafeNotMountedBehavior) and takes that failure for success.
func TestUmountOfNoMountPoint(t *testing.T) {
	r := newRecorder()
	r.refuse = func(string) error { return unix.EINVAL }
	exit, _, stderr := r.runUmount("/src")
	if exit != exitFailure || stderr != "umount: /src: not mounted.\n" {
		t.Errorf("exit %d, %q", exit, stderr)
	}
	if exit, _, stderr := r.runUmount("-q /src"); exit != exitFailure || stderr != "" {
		t.Errorf("-q: exit %d, %q", exit, stderr)
	}
	for _, err := range []error{unix.ENOENT, unix.EBUSY, unix.EPERM, unix.EIO} {
		r.refuse = func(string) error { return err }
		exit, _, stderr := r.runUmount("/src")
		if exit != exitFailure || strings.Contains(stderr, "not mounted") || !strings.HasPrefix(stderr, "umount: /src: ") {
			t.Errorf("%v: exit %d, %q: kubelet would take it for success", err, exit, stderr)
		}
	}
	if exit, _, _ := r.runUmount("/src /src"); exit != 64 {
		t.Errorf("two failures: exit %d, want 64", exit)
	}
}

func TestUmountUsage(t *testing.T) {
	for _, line := range []string{"", "-x /dst", "-a", "--all", "-A /dst", "-r /dst"} {
		r := newRecorder()
		if exit, _, stderr := r.runUmount(line); exit != exitUsage || stderr == "" {
			t.Errorf("umount %s: exit %d, %q", line, exit, stderr)
		}
		r.expect(t, line)
	}
}

func TestUmountByDevice(t *testing.T) {
	r := newRecorder()
	r.refuse = func(call string) error {
		if strings.Contains(call, "/dev/sda1") {
			return unix.EINVAL
		}
		return nil
	}
	if exit, _, stderr := r.runUmount("/dev/sda1"); exit != 0 {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	r.expect(t, "/dev/sda1", `umount("/dev/sda1", 0)`, `umount("/ro", 0)`)
}

func TestUmountProgramOfType(t *testing.T) {
	r := newRecorder()
	r.files["/sbin/umount.tmpfs"] = 0o755
	r.ran = func([]string) int { return 4 }
	if exit, _, _ := r.runUmount("-f /dst"); exit != 4 {
		t.Errorf("exit %d, want the program's 4", exit)
	}
	r.expect(t, "-f /dst", "run(/sbin/umount.tmpfs /dst -f)")
	r.runUmount("-i /dst")
	r.expect(t, "-i /dst", `umount("/dst", 0)`)
	r.runUmount("/ro")
	r.expect(t, "/ro", `umount("/ro", 0)`)
	r.refuse = func(string) error { return errors.New("exec format error") }
	if exit, _, stderr := r.runUmount("/dst"); exit != exitSystem || !strings.Contains(stderr, "exec format error") {
		t.Errorf("exit %d, %q", exit, stderr)
	}
}
