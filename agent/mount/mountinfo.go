package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/procfs"
)

// Info is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Info struct {
	ID, Parent   uint64
	Major, Minor uint32
	Root         string   // of the mount within its file system
	Target       string   // where it is mounted, seen from the process's root
	Options      string   // of this mount, comma-separated
	Tags         []string // as shared:1, master:2; empty for a private mount
	Type         string
	Source       string
	SuperOptions string // of the file system, comma-separated
}

// Bounds on mountinfo. An overlay of many layers makes lines of several KiB; a
// node with 500 pods has some 10,000 mounts.
const (
	maxMountInfoLine  = 1 << 20
	maxMountInfoLines = 1 << 18
)

// ParseMountInfo parses /proc/PID/mountinfo, in the order of the file: a later
// mount on the same target covers an earlier one.
func ParseMountInfo(r io.Reader) ([]Info, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 4096), maxMountInfoLine)
	var infos []Info
	for scanner.Scan() {
		info, err := parseMountInfoLine(scanner.Text())
		if err != nil {
			return nil, fmt.Errorf("parse mountinfo, line %d: %w", len(infos)+1, err)
		}
		if len(infos) == maxMountInfoLines {
			return nil, fmt.Errorf("parse mountinfo: more than %d mounts", maxMountInfoLines)
		}
		infos = append(infos, info)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("parse mountinfo, line %d: %w", len(infos)+1, err)
	}
	return infos, nil
}

func parseMountInfoLine(line string) (Info, error) {
	fields := strings.Split(line, " ")
	// 36 35 98:0 /root /target options [tag ...] - type source super
	end := 6
	for end < len(fields) && fields[end] != "-" {
		end++
	}
	if len(fields) < 10 || end+3 >= len(fields) {
		return Info{}, fmt.Errorf("%d fields, no type, source and options after a -", len(fields))
	}
	id, err1 := strconv.ParseUint(fields[0], 10, 64)
	parent, err2 := strconv.ParseUint(fields[1], 10, 64)
	majorText, minorText, found := strings.Cut(fields[2], ":")
	major, err3 := strconv.ParseUint(majorText, 10, 32)
	minor, err4 := strconv.ParseUint(minorText, 10, 32)
	if err := errors.Join(err1, err2, err3, err4); err != nil || !found {
		return Info{}, fmt.Errorf("bad numbers in %q: %w", strings.Join(fields[:3], " "), err)
	}
	info := Info{
		ID: id, Parent: parent, Major: uint32(major), Minor: uint32(minor),
		Root: procfs.Unescape(fields[3]), Target: procfs.Unescape(fields[4]), Options: fields[5],
		Type: procfs.Unescape(fields[end+1]), Source: procfs.Unescape(fields[end+2]),
		// The kernel escapes blanks in options too, but not every file system does.
		SuperOptions: procfs.Unescape(strings.Join(fields[end+3:], " ")),
	}
	if end > 6 {
		info.Tags = fields[6:end]
	}
	return info, nil
}

// at returns the topmost mount on target.
func at(infos []Info, target string) (Info, bool) {
	for i := len(infos) - 1; i >= 0; i-- {
		if infos[i].Target == target {
			return infos[i], true
		}
	}
	return Info{}, false
}
