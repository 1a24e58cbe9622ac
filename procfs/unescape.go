// Package procfs reads what /proc says in a form of its own.
package procfs

import (
	"strconv"
	"strings"
)

// Unescape undoes the kernel's mangle(): blank, tab, newline, backslash and #
// are written as a backslash and three octal digits.
func Unescape(s string) string {
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
