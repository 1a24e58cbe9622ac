package mount

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Umount is the program umount(8); args come without its name. It returns the
// exit status. A target that is nothing's mount point is answered with "not
// mounted", which kubelet looks for.
func Umount(args []string, stdout, stderr io.Writer) int {
	return umountProgram(Linux{}, args, stdout, stderr)
}

type umountCommand struct {
	host           host
	stdout, stderr io.Writer

	force, lazy, recursive    bool
	noHelpers, quiet, verbose bool
}

const umountUsage = `Usage: umount [-cdfilnqRv] DIRECTORY|DEVICE...
`

func umountProgram(h host, args []string, stdout, stderr io.Writer) int {
	u := &umountCommand{host: h, stdout: stdout, stderr: stderr}
	var ignored bool
	targets, err := parseArgs(args, []flag{
		{'f', "force", false, on(&u.force)},
		{'l', "lazy", false, on(&u.lazy)},
		{'R', "recursive", false, on(&u.recursive)},
		{'i', "internal-only", false, on(&u.noHelpers)},
		{'q', "quiet", false, on(&u.quiet)},
		{'v', "verbose", false, on(&u.verbose)},
		{'n', "no-mtab", false, on(&ignored)},         // there is no mtab
		{'d', "detach-loop", false, on(&ignored)},     // loop devices free themselves
		{'c', "no-canonicalize", false, on(&ignored)}, // the kernel resolves paths
		{'h', "help", false, func(string) error { return errHelp }},
	})
	switch {
	case errors.Is(err, errHelp):
		fmt.Fprint(stdout, umountUsage)
		return 0
	case err == nil && len(targets) == 0:
		err = errors.New("bad usage: nothing to unmount")
	}
	if err != nil {
		fmt.Fprintf(stderr, "umount: %v\n%s", err, umountUsage)
		return exitUsage
	}
	exit := 0
	for _, target := range targets {
		if u.recursive {
			exit += u.tree(target)
		} else {
			exit += u.one(target)
		}
	}
	return min(exit, 255) // mount(8) adds up, too
}

// one unmounts one target, or the last place where a device or file is mounted.
// The target is not looked at before umount2 has refused it: looking at a mount
// whose server is dead would hang.
func (u *umountCommand) one(target string) int {
	if exit, done := u.byHelper(target); done {
		return exit
	}
	err := u.host.Unmount(target, u.flags())
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTBLK) {
		if place := u.mountOf(target); place != "" {
			err = u.host.Unmount(place, u.flags())
		}
	}
	if err == nil {
		if u.verbose {
			fmt.Fprintf(u.stdout, "umount: %s unmounted\n", target)
		}
		return 0
	}
	if errors.Is(err, unix.EINVAL) {
		if !u.quiet {
			fmt.Fprintf(u.stderr, "umount: %s: not mounted.\n", target)
		}
		return exitFailure
	}
	fmt.Fprintf(u.stderr, "umount: %s: %s.\n", target, explainUmount(err))
	return exitFailure
}

func explainUmount(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no mount point specified: it does not exist"
	case errors.Is(err, unix.EBUSY):
		return "target is busy"
	case errors.Is(err, unix.EPERM):
		return "must be superuser to unmount"
	}
	return fmt.Sprintf("umount2(2) system call failed: %v", err)
}

func (u *umountCommand) flags() int {
	flags := 0
	if u.force {
		flags |= unix.MNT_FORCE
	}
	if u.lazy {
		flags |= unix.MNT_DETACH
	}
	return flags
}

// mountOf returns the latest target that a block device, or a file through its
// loop device, is mounted on, or "".
func (u *umountCommand) mountOf(source string) string {
	info, err := u.host.Stat(source)
	if err != nil || info.IsDir() {
		return ""
	}
	device := u.host.Device(source)
	if info.Mode().IsRegular() {
		loop, done, err := u.host.AttachLoop(source, loopOptions{readOnly: true, onlyExisting: true})
		if err != nil {
			return ""
		}
		done()
		device = loop
	}
	infos, err := u.host.MountInfo()
	if err != nil {
		return ""
	}
	for _, info := range slices.Backward(infos) {
		if info.Source == device {
			return info.Target
		}
	}
	return ""
}

// tree unmounts target and everything below it, the latest first.
func (u *umountCommand) tree(target string) int {
	infos, err := u.host.MountInfo()
	if err != nil {
		fmt.Fprintf(u.stderr, "umount: %v\n", err)
		return exitSystem
	}
	path, err := filepath.Abs(target)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if _, mounted := at(infos, path); err != nil || !mounted {
		if !u.quiet {
			fmt.Fprintf(u.stderr, "umount: %s: not mounted.\n", target)
		}
		return exitFailure
	}
	for _, info := range slices.Backward(infos) {
		if info.Target == path || strings.HasPrefix(info.Target, strings.TrimSuffix(path, "/")+"/") {
			if exit := u.one(info.Target); exit != 0 {
				return exit
			}
		}
	}
	return 0
}

// byHelper lets a umount.TYPE program do it, if the image has one for the type
// that is mounted on target.
func (u *umountCommand) byHelper(target string) (exit int, done bool) {
	if u.noHelpers || u.lazy {
		return 0, false
	}
	// Most images have none, and then there is no need to read mountinfo, which
	// is long where many pods run.
	helpers := u.host.Glob("/sbin/umount.*")
	if len(helpers) == 0 {
		return 0, false
	}
	infos, err := u.host.MountInfo()
	if err != nil {
		return 0, false
	}
	path, err := filepath.Abs(target)
	if err != nil {
		return 0, false
	}
	info, mounted := at(infos, path)
	helper := "/sbin/umount." + info.Type
	if !mounted || !slices.Contains(helpers, helper) {
		return 0, false
	}
	args := []string{target}
	if u.force {
		args = append(args, "-f")
	}
	if u.verbose {
		args = append(args, "-v")
	}
	exit, err = u.host.Run(helper, args, u.stdout, u.stderr)
	if err != nil {
		fmt.Fprintf(u.stderr, "umount: %s: run %s: %v\n", target, helper, err)
		return exitSystem, true
	}
	return exit, true
}
