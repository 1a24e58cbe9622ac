package mount

import (
	"fmt"
	"strings"
)

// list prints all mounts, or those of the types given, as mount(8) does.
func (m *mountCommand) list() int {
	infos, err := m.host.MountInfo()
	if err != nil {
		fmt.Fprintf(m.stderr, "mount: %v\n", err)
		return exitSystem
	}
	for _, info := range infos {
		if m.types == "" || typeInList(info.Type, m.types) {
			fmt.Fprintf(m.stdout, "%s on %s type %s (%s)\n", info.Source, info.Target, info.Type, mergedOptions(info))
		}
	}
	return 0
}

// typeInList reports whether a list of types as mount's -t, "no" in front to
// negate it, holds t.
func typeInList(t, list string) bool {
	list, negated := strings.CutPrefix(list, "no")
	for name := range strings.SplitSeq(list, ",") {
		if name == t {
			return !negated
		}
	}
	return negated
}

// mergedOptions is the option string of mount's list: those of the mount, then
// those of its file system that are not the same question again. A mount is ro
// if either is.
func mergedOptions(info Info) string {
	first := "rw"
	var rest []string
	seen := map[string]bool{}
	for _, option := range append(splitOptions(info.Options), splitOptions(info.SuperOptions)...) {
		switch {
		case option == "ro":
			first = "ro"
		case option == "rw" || seen[option]:
		default:
			seen[option] = true
			rest = append(rest, option)
		}
	}
	return strings.Join(append([]string{first}, rest...), ",")
}
