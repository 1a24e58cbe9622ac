package mount

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// flagNames are the options that are flags of mount(2), as mount(8) lists them
// under file-system-independent mount options. off names the option that takes
// the flag away.
var flagNames = []struct {
	on, off  string
	flag     uintptr
	perMount bool // a property of the mount, not of the file system
}{
	{"ro", "rw", unix.MS_RDONLY, true},
	{"nosuid", "suid", unix.MS_NOSUID, true},
	{"nodev", "dev", unix.MS_NODEV, true},
	{"noexec", "exec", unix.MS_NOEXEC, true},
	{"nosymfollow", "symfollow", unix.MS_NOSYMFOLLOW, true},
	{"noatime", "atime", unix.MS_NOATIME, true},
	{"nodiratime", "diratime", unix.MS_NODIRATIME, true},
	{"relatime", "norelatime", unix.MS_RELATIME, true},
	{"strictatime", "nostrictatime", unix.MS_STRICTATIME, true},
	{"sync", "async", unix.MS_SYNCHRONOUS, false},
	{"dirsync", "", unix.MS_DIRSYNC, false},
	{"mand", "nomand", unix.MS_MANDLOCK, false},
	{"iversion", "noiversion", unix.MS_I_VERSION, false},
	{"lazytime", "nolazytime", unix.MS_LAZYTIME, false},
	{"silent", "loud", unix.MS_SILENT, false},
}

// atimeFlags decide about access times together: naming one replaces the
// others of an existing mount.
const atimeFlags = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// propagations are the options and --make- operations that change how a mount
// passes mounts on.
var propagations = map[string]uintptr{
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// options are what an option string asks for.
type options struct {
	set, cleared uintptr // flags switched on, and those switched off
	operation    uintptr // of MS_BIND, MS_REC, MS_MOVE, MS_REMOUNT
	propagation  []uintptr
	data         string // for the file system
	helper       string // all that a mount.TYPE program must see
	loop         bool
	loopDevice   string
	offset       uint64 // bytes, of the loop device in its file
	sizeLimit    uint64 // bytes, 0 is to the end
}

// flags returns the flags for a mount that has base already.
func (o options) flags(base uintptr) uintptr {
	if o.set&atimeFlags != 0 {
		base &^= atimeFlags
	}
	return base&^o.cleared | o.set
}

// perMount returns the flags among f that belong to a mount.
func perMount(f uintptr) uintptr {
	var mask uintptr
	for _, n := range flagNames {
		if n.perMount {
			mask |= n.flag
		}
	}
	return f & mask
}

// parseOptions splits an option string. A comma within double quotes does not
// separate.
func parseOptions(list string) (options, error) {
	var o options
	var data, helper []string
	for _, option := range splitOptions(list) {
		keep, err := o.take(option)
		if err != nil {
			return options{}, err
		}
		if keep.data {
			data = append(data, option)
		}
		if keep.helper {
			helper = append(helper, option)
		}
	}
	o.data, o.helper = strings.Join(data, ","), strings.Join(helper, ",")
	if strings.ContainsRune(list, 0) {
		return options{}, fmt.Errorf("options contain a zero byte")
	}
	return o, nil
}

// kept says who else must see an option.
type kept struct{ data, helper bool }

func (o *options) take(option string) (kept, error) {
	name, value, hasValue := strings.Cut(option, "=")
	if !hasValue {
		for _, n := range flagNames {
			switch option {
			case n.on:
				o.set |= n.flag
				o.cleared &^= n.flag
				return kept{helper: true}, nil
			case n.off:
				o.set &^= n.flag
				o.cleared |= n.flag
				return kept{helper: true}, nil
			}
		}
		if flag, ok := propagations[option]; ok {
			o.propagation = append(o.propagation, flag)
			return kept{}, nil
		}
	}
	switch name {
	case "bind":
		o.operation |= unix.MS_BIND
	case "rbind":
		o.operation |= unix.MS_BIND | unix.MS_REC
	case "move":
		o.operation |= unix.MS_MOVE
	case "remount":
		o.operation |= unix.MS_REMOUNT
		return kept{helper: true}, nil
	case "loop":
		o.loop, o.loopDevice = true, value
	case "offset", "sizelimit":
		bytes, err := parseSize(value)
		if err != nil {
			return kept{}, fmt.Errorf("option %s: %w", option, err)
		}
		if name == "offset" {
			o.offset = bytes
		} else {
			o.sizeLimit = bytes
		}
		o.loop = true
	case "user", "users":
		o.set |= (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	case "owner", "group":
		o.set |= unix.MS_NOSUID | unix.MS_NODEV
	case "_netdev":
		return kept{helper: true}, nil
	case "", "defaults", "auto", "noauto", "nofail", "nouser", "nousers", "noowner", "nogroup", "comment", "uhelper", "helper":
		// For fstab and who reads it.
	default:
		switch {
		case strings.HasPrefix(name, "X-mount."), name == "encryption", strings.HasPrefix(name, "verity."):
			return kept{}, fmt.Errorf("option %s is not supported", name)
		case strings.HasPrefix(name, "x-"), strings.HasPrefix(name, "X-"):
			// Notes of other programs.
		default:
			return kept{data: true, helper: true}, nil
		}
	}
	return kept{}, nil
}

func splitOptions(list string) []string {
	var all []string
	quoted := false
	start := 0
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ',' && !quoted:
			if i > start {
				all = append(all, list[start:i])
			}
			start = i + 1
		case list[i] == '"':
			quoted = !quoted
		}
	}
	return all
}

// parseSize reads bytes with the suffixes of mount(8): K, M, G, T are powers of
// 1024, with or without iB.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "KMGTiB")
	shift, ok := map[string]uint{"": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30, "T": 40, "TiB": 40}[s[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok || n<<shift>>shift != n || n<<shift > 1<<62 {
		return 0, fmt.Errorf("%q is not a number of bytes as 1048576 or 1M", s)
	}
	return n << shift, nil
}

// currentFlags reads the flags of an existing mount: those of the mount itself,
// and with super also those of its file system, which a full remount would
// otherwise take away.
func currentFlags(info Info, super bool) uintptr {
	parse := func(list string) uintptr {
		var flags uintptr
		for _, option := range splitOptions(list) {
			for _, n := range flagNames {
				if option == n.on {
					flags |= n.flag
				}
			}
		}
		return flags
	}
	flags := perMount(parse(info.Options))
	if flags&atimeFlags == 0 {
		// The kernel prints nothing for strict access times, and takes a remount
		// without any of the three for relatime.
		flags |= unix.MS_STRICTATIME
	}
	if super {
		flags |= parse(info.SuperOptions) &^ atimeFlags
	}
	return flags
}

// optionString prints flags and data as an option string of mount(8).
func optionString(flags uintptr, data string) string {
	var names []string
	if flags&unix.MS_REMOUNT != 0 {
		names = append(names, "remount")
	}
	switch flags & (unix.MS_BIND | unix.MS_REC) {
	case unix.MS_BIND:
		names = append(names, "bind")
	case unix.MS_BIND | unix.MS_REC:
		names = append(names, "rbind")
	}
	for _, n := range flagNames {
		if flags&n.flag != 0 {
			names = append(names, n.on)
		}
	}
	if data != "" {
		names = append(names, data)
	}
	return strings.Join(names, ",")
}
