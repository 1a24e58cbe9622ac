package mount

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// recorder is a host that writes down what it is asked to mount.
type recorder struct {
	calls   []string
	infos   []Info
	files   map[string]fs.FileMode
	types   map[string]string          // what Probe finds
	refuse  func(call string) error    // nil: everything works
	ran     func(args []string) int    // the helper's work
	known   map[string]bool            // Filesystems
	mounted func(target string) uint64 // id of a mount point, 0 if it is none
}

func newRecorder() *recorder {
	r := &recorder{
		files: map[string]fs.FileMode{
			"/dev/sda1": fs.ModeDevice, "/dev/zero": fs.ModeDevice | fs.ModeCharDevice,
			"/disk.img": 0, "/src": fs.ModeDir, "/dst": fs.ModeDir,
		},
		types: map[string]string{"/dev/sda1": "ext4", "/dev/loop7": "squashfs"},
		known: map[string]bool{"tmpfs": true, "proc": true, "overlay": true, "nfs": true, "ext4": false, "squashfs": false, "fuse": true},
	}
	r.files["/dev/loop7"] = fs.ModeDevice
	r.infos = []Info{
		{ID: 1, Target: "/", Type: "erofs", Source: "/dev/mapper/root", Options: "ro,relatime", SuperOptions: "ro"},
		{ID: 2, Target: "/dst", Type: "tmpfs", Source: "tmpfs", Options: "rw,nosuid,nodev,noexec,relatime", SuperOptions: "rw,size=1024k"},
		{ID: 3, Target: "/strict", Type: "ext4", Source: "/dev/sda1", Options: "rw,nodiratime", SuperOptions: "rw,sync,lazytime"},
		{ID: 4, Target: "/ro", Type: "ext4", Source: "/dev/sda1", Options: "rw,relatime", SuperOptions: "ro"},
	}
	return r
}

func (r *recorder) call(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	r.calls = append(r.calls, call)
	if r.refuse != nil {
		return r.refuse(call)
	}
	return nil
}

// flagText names flags as strace does.
func flagText(flags uintptr) string {
	var names []string
	for _, f := range []struct {
		flag uintptr
		name string
	}{
		{unix.MS_RDONLY, "RDONLY"}, {unix.MS_NOSUID, "NOSUID"}, {unix.MS_NODEV, "NODEV"}, {unix.MS_NOEXEC, "NOEXEC"},
		{unix.MS_SYNCHRONOUS, "SYNC"}, {unix.MS_REMOUNT, "REMOUNT"}, {unix.MS_MANDLOCK, "MAND"}, {unix.MS_DIRSYNC, "DIRSYNC"},
		{unix.MS_NOSYMFOLLOW, "NOSYMFOLLOW"}, {unix.MS_NOATIME, "NOATIME"}, {unix.MS_NODIRATIME, "NODIRATIME"},
		{unix.MS_BIND, "BIND"}, {unix.MS_MOVE, "MOVE"}, {unix.MS_REC, "REC"}, {unix.MS_SILENT, "SILENT"},
		{unix.MS_UNBINDABLE, "UNBINDABLE"}, {unix.MS_PRIVATE, "PRIVATE"}, {unix.MS_SLAVE, "SLAVE"}, {unix.MS_SHARED, "SHARED"},
		{unix.MS_RELATIME, "RELATIME"}, {unix.MS_I_VERSION, "IVERSION"}, {unix.MS_STRICTATIME, "STRICTATIME"}, {unix.MS_LAZYTIME, "LAZYTIME"},
	} {
		if flags&f.flag != 0 {
			names = append(names, f.name)
			flags &^= f.flag
		}
	}
	if flags != 0 {
		names = append(names, fmt.Sprintf("%#x", flags))
	}
	return strings.Join(names, "|")
}

func (r *recorder) Mount(source, target, fstype string, flags uintptr, data string) error {
	return r.call("mount(%q, %q, %q, %s, %q)", source, target, fstype, flagText(flags), data)
}
func (r *recorder) Unmount(target string, flags int) error {
	return r.call("umount(%q, %d)", target, flags)
}
func (r *recorder) MountInfo() ([]Info, error) { return r.infos, nil }
func (r *recorder) MountID(path string) (uint64, bool, error) {
	info, mounted := at(r.infos, path)
	if r.mounted != nil && !mounted {
		id := r.mounted(path)
		return id, id != 0, nil
	}
	return info.ID, mounted, nil
}
func (r *recorder) Filesystems() map[string]bool { return r.known }
func (r *recorder) Stat(name string) (fs.FileInfo, error) {
	mode, ok := r.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: unix.ENOENT}
	}
	return fakeInfo{name, mode}, nil
}
func (r *recorder) Glob(pattern string) []string {
	var names []string
	for name := range r.files {
		if ok, _ := path.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
func (r *recorder) Device(path string) string {
	if path == "/dev/disk/by-id/x" {
		return "/dev/sda1"
	}
	return path
}
func (r *recorder) AttachLoop(file string, o loopOptions) (string, func(), error) {
	if err := r.call("loop(%q, %+v)", file, o); err != nil {
		return "", nil, err
	}
	return "/dev/loop7", func() { r.calls = append(r.calls, "loop released") }, nil
}
func (r *recorder) Probe(path string) (string, error) { return r.types[path], nil }
func (r *recorder) Run(path string, args []string, stdout, stderr io.Writer) (int, error) {
	if err := r.call("run(%s %s)", path, strings.Join(args, " ")); err != nil {
		return 0, err
	}
	if r.ran != nil {
		return r.ran(args), nil
	}
	return 0, nil
}

type fakeInfo struct {
	name string
	mode fs.FileMode
}

func (f fakeInfo) Name() string       { return filepath.Base(f.name) }
func (f fakeInfo) Size() int64        { return 0 }
func (f fakeInfo) Mode() fs.FileMode  { return f.mode }
func (f fakeInfo) ModTime() time.Time { return time.Time{} }
func (f fakeInfo) IsDir() bool        { return f.mode.IsDir() }
func (f fakeInfo) Sys() any           { return nil }

// runMount runs a command line and returns calls, exit status and output.
func (r *recorder) runMount(line string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	r.calls = nil
	exit = mountProgram(r, strings.Fields(line), &out, &errs)
	return exit, out.String(), errs.String()
}

func (r *recorder) runUmount(line string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	r.calls = nil
	exit = umountProgram(r, strings.Fields(line), &out, &errs)
	return exit, out.String(), errs.String()
}

func (r *recorder) expect(t *testing.T, line string, want ...string) {
	t.Helper()
	if !slices.Equal(r.calls, want) {
		t.Errorf("%s\n got %s\nwant %s", line, strings.Join(r.calls, "\n     "), strings.Join(want, "\n     "))
	}
}
