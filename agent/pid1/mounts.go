package pid1

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Mount is a line of /proc/self/mountinfo.
type Mount struct {
	Path   string
	Type   string // "ext4", "tmpfs", …
	Device string // "/dev/mmcblk0p4", "tmpfs", …
}

// maxMounts bounds what a shutdown looks at. A node with 250 pods has some
// thousands.
const maxMounts = 100_000

// parseMounts parses mountinfo (proc_pid_mountinfo(5)):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
//
// Lines it does not understand are left out: one odd mount must not keep the
// others mounted.
func parseMounts(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 8<<10), 1<<20) // overlay options can be long
	for scan.Scan() {
		head, tail, ok := strings.Cut(scan.Text(), " - ")
		before, after := strings.Fields(head), strings.Fields(tail)
		if !ok || len(before) < 6 || len(after) < 2 {
			continue
		}
		mounts = append(mounts, Mount{Path: unescape(before[4]), Type: after[0], Device: unescape(after[1])})
		if len(mounts) == maxMounts {
			return mounts, fmt.Errorf("list mounts: more than %d", maxMounts)
		}
	}
	if err := scan.Err(); err != nil {
		return mounts, fmt.Errorf("list mounts: %w", err)
	}
	return mounts, nil
}

// unescape replaces the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '7' {
			return false
		}
	}
	return s[0] <= '3'
}
