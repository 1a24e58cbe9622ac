package mount

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Exit statuses of mount(8) and umount(8).
const (
	exitUsage   = 1
	exitSystem  = 2
	exitFailure = 32
)

// Mount is the program mount(8); args come without its name. It returns the
// exit status.
func Mount(args []string, stdout, stderr io.Writer) int {
	return mountProgram(Linux{}, args, stdout, stderr)
}

// mountCommand is a command line of mount(8).
type mountCommand struct {
	host           host
	stdout, stderr io.Writer

	types          string
	source, target string
	optionList     []string
	noCanonicalize bool
	noHelpers      bool
	verbose        bool

	options options
}

func mountProgram(h host, args []string, stdout, stderr io.Writer) int {
	m := &mountCommand{host: h, stdout: stdout, stderr: stderr}
	list, err := m.parse(args)
	switch {
	case errors.Is(err, errHelp):
		fmt.Fprint(stdout, mountUsage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "mount: %v\n%s", err, mountUsage)
		return exitUsage
	case list:
		return m.list()
	}
	return m.run()
}

const mountUsage = `Usage: mount [-l] [-t TYPES]
       mount [-cinrvw] [-t TYPE] [-o OPTIONS] [--bind|--rbind|--move] SOURCE DIRECTORY
       mount -o remount[,OPTIONS] [SOURCE] DIRECTORY
       mount --make-[r]{shared|slave|private|unbindable} DIRECTORY
`

var errHelp = errors.New("help")

// parse reads the command line. list is true for a call that only lists mounts.
func (m *mountCommand) parse(args []string) (list bool, err error) {
	option := func(o string) func(string) error {
		return func(string) error { m.optionList = append(m.optionList, o); return nil }
	}
	var ignored, labels bool
	flags := []flag{
		{'t', "types", true, to(&m.types)},
		{'o', "options", true, func(v string) error { m.optionList = append(m.optionList, v); return nil }},
		{'r', "read-only", false, option("ro")},
		{'w', "rw", false, option("rw")},
		{0, "read-write", false, option("rw")},
		{'B', "bind", false, option("bind")},
		{'R', "rbind", false, option("rbind")},
		{'M', "move", false, option("move")},
		{'c', "no-canonicalize", false, on(&m.noCanonicalize)},
		{'i', "internal-only", false, on(&m.noHelpers)},
		{'n', "no-mtab", false, on(&ignored)}, // there is no mtab
		{'v', "verbose", false, on(&m.verbose)},
		{'l', "show-labels", false, on(&labels)}, // labels are udev's, and there is none
		{0, "source", true, to(&m.source)},
		{0, "target", true, to(&m.target)},
		{'h', "help", false, func(string) error { return errHelp }},
	}
	for name := range propagations {
		flags = append(flags, flag{0, "make-" + name, false, option(name)})
	}
	operands, err := parseArgs(args, flags)
	if err != nil {
		return false, err
	}
	if m.options, err = parseOptions(strings.Join(m.optionList, ",")); err != nil {
		return false, err
	}
	if len(operands) == 0 && m.source == "" && m.target == "" {
		if len(m.optionList) > 0 {
			return false, errors.New("nothing to mount: name a source and a directory")
		}
		return true, nil
	}
	return false, m.place(operands)
}

// place decides which operand is source and which is target.
func (m *mountCommand) place(operands []string) error {
	for _, operand := range operands {
		switch {
		case m.source == "" && (m.target != "" || len(operands) == 2):
			m.source = operand
			operands = operands[1:]
		case m.target == "":
			m.target = operand
		default:
			return fmt.Errorf("unexpected argument %q", operand)
		}
	}
	if m.target == "" {
		return errors.New("no directory given")
	}
	for _, tag := range []string{"LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=", "ID="} {
		if strings.HasPrefix(m.source, tag) {
			return fmt.Errorf("%s: there is no index of labels: name the device", m.source)
		}
	}
	change := m.options.operation&unix.MS_REMOUNT != 0 || len(m.options.propagation) > 0
	if m.source == "" && (!change || m.options.operation&(unix.MS_REMOUNT|unix.MS_BIND) == unix.MS_BIND) {
		return fmt.Errorf("%s: can't find in /etc/fstab: there is none: name source and directory", m.target)
	}
	if m.options.operation&unix.MS_MOVE != 0 && m.options.operation != unix.MS_MOVE {
		return errors.New("move goes with no other operation")
	}
	return nil
}

// run does what was asked, in the order of mount(8): the mount, then its
// propagation.
func (m *mountCommand) run() int {
	var exit int
	var err error
	switch op := m.options.operation; {
	case op&unix.MS_REMOUNT != 0:
		exit, err = m.remount()
	case op&unix.MS_BIND != 0:
		err = m.bind()
	case op&unix.MS_MOVE != 0:
		err = m.host.Mount(m.source, m.target, "", unix.MS_MOVE, "")
	case m.source != "":
		exit, err = m.mountNew()
	}
	if err != nil {
		return m.fail(err)
	}
	if exit != 0 {
		return exit // a mount.TYPE program has said why
	}
	for _, flag := range m.options.propagation {
		if err := m.host.Mount("", m.target, "", flag, ""); err != nil {
			return m.fail(err)
		}
	}
	if m.verbose && m.source != "" {
		fmt.Fprintf(m.stdout, "mount: %s mounted on %s.\n", m.source, m.target)
	}
	return 0
}

// bind mounts the source's tree. mount(2) ignores all flags of a bind mount, so
// they are set by a second call; a mount that did not become read-only as asked
// must not stay.
func (m *mountCommand) bind() error {
	operation := m.options.operation
	if err := m.host.Mount(m.source, m.target, "", operation, ""); err != nil {
		return err
	}
	if perMount(m.options.set) == 0 {
		return nil
	}
	current, err := m.current()
	if err == nil {
		flags := perMount(m.options.flags(currentFlags(current, false)))
		err = m.host.Mount("", m.target, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	}
	if err != nil {
		return errors.Join(err, m.host.Unmount(m.target, unix.MNT_DETACH))
	}
	return nil
}

// remount changes the flags of an existing mount and, without bind, those of
// its file system. Flags that are not named stay (see the package comment).
func (m *mountCommand) remount() (exit int, err error) {
	current, err := m.current()
	if err != nil {
		return 0, err
	}
	if helper := m.helper(current.Type); helper != "" && m.options.operation&unix.MS_BIND == 0 {
		return m.runHelper(helper, current.Source, current.Type)
	}
	bind := m.options.operation & unix.MS_BIND
	flags := m.options.flags(currentFlags(current, bind == 0))
	data := m.options.data
	if bind != 0 {
		flags, data = perMount(flags), ""
	}
	return 0, m.host.Mount(current.Source, m.target, "", unix.MS_REMOUNT|bind|flags, data)
}

// errNotMountPoint is EINVAL's meaning for operations on an existing mount.
var errNotMountPoint = errors.New("not mount point or bad option")

// current returns the mount that target is the root of. It is found by its id:
// a path may be one of /proc/PID/fd, which names no mount.
func (m *mountCommand) current() (Info, error) {
	id, root, err := m.host.MountID(m.target)
	if err != nil {
		return Info{}, err
	}
	if !root {
		return Info{}, errNotMountPoint
	}
	infos, err := m.host.MountInfo()
	if err != nil {
		return Info{}, err
	}
	for _, info := range infos {
		if info.ID == id {
			return info, nil
		}
	}
	return Info{}, errNotMountPoint // mounted outside of this process's root
}

// fail prints err as mount(8) would and returns the exit status.
func (m *mountCommand) fail(err error) int {
	var own *mountError
	if errors.As(err, &own) {
		fmt.Fprintf(m.stderr, "mount: %s: %v.\n", m.target, own)
		return own.exit
	}
	fmt.Fprintf(m.stderr, "mount: %s: %s.\n", m.target, m.explain(err))
	return exitFailure
}

// mountError carries its own text and exit status.
type mountError struct {
	exit int
	err  error
}

func (e *mountError) Error() string { return e.err.Error() }
func (e *mountError) Unwrap() error { return e.err }

func (m *mountCommand) explain(err error) string {
	change := m.options.operation&(unix.MS_REMOUNT|unix.MS_MOVE) != 0 || m.source == ""
	exists := func(path string) bool { _, err := m.host.Stat(path); return !errors.Is(err, fs.ErrNotExist) }
	switch {
	case errors.Is(err, unix.ENOENT) && !exists(m.target):
		return "mount point does not exist"
	case errors.Is(err, unix.ENOENT) && m.source != "" && !exists(m.source):
		return fmt.Sprintf("special device %s does not exist", m.source)
	case errors.Is(err, unix.ENODEV):
		return fmt.Sprintf("unknown filesystem type '%s' (no kernel module for it)", m.types)
	case errors.Is(err, unix.EBUSY) && m.options.operation&unix.MS_REMOUNT != 0:
		return "mount point is busy: something writes to it"
	case errors.Is(err, unix.EBUSY):
		return fmt.Sprintf("%s already mounted or mount point busy", m.source)
	case errors.Is(err, errNotMountPoint), errors.Is(err, unix.EINVAL) && change:
		return errNotMountPoint.Error()
	case errors.Is(err, unix.EINVAL):
		text := fmt.Sprintf("wrong fs type, bad option, bad superblock on %s, missing codepage or helper program, or other error", m.source)
		if m.types == "nfs" || m.types == "nfs4" || m.types == "cifs" {
			text += fmt.Sprintf(": %s needs /sbin/mount.%s, which this image lacks", m.types, m.types)
		}
		return text + ": the kernel's log may say more"
	case errors.Is(err, unix.ENOTBLK):
		return fmt.Sprintf("%s is not a block device", m.source)
	case errors.Is(err, unix.ENOTDIR):
		return "mount point and source must both be directories, or neither"
	case errors.Is(err, unix.EPERM):
		return "permission denied"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return fmt.Sprintf("cannot mount %s: it is write-protected", m.source)
	}
	return fmt.Sprintf("mount(2) system call failed: %v", err)
}
