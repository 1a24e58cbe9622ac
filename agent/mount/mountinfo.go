package mount

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
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
		Root: unescape(fields[3]), Target: unescape(fields[4]), Options: fields[5],
		Type: unescape(fields[end+1]), Source: unescape(fields[end+2]),
		// The kernel escapes blanks in options too, but not every file system does.
		SuperOptions: unescape(strings.Join(fields[end+3:], " ")),
	}
	if end > 6 {
		info.Tags = fields[6:end]
	}
	return info, nil
}

// unescape undoes the kernel's mangle(): blank, tab, newline, backslash and #
// are written as a backslash and three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
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
