package logring

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// MaxLine is the greatest length of an entry's text in bytes.
const MaxLine = 8 << 10

// Clean makes text safe to print on a terminal and to store as one line.
// Newlines at its end are dropped; control characters (C0, DEL,
// C1), Unicode's line separators and bidirectional overrides, and bytes that
// are not UTF-8 become escapes such as \n, \x1b, \u2028.
func Clean(text string) string {
	text = strings.TrimRight(text, "\r\n")
	i := 0
	for i < len(text) && text[i] >= 0x20 && text[i] < 0x7f {
		i++
	}
	if i == len(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 16)
	b.WriteString(text[:i])
	for i < len(text) {
		c, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20 || c >= 0x7f && c < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// cut shortens clean text to MaxLine bytes and says by how much.
func cut(text string) string {
	if len(text) <= MaxLine {
		return text
	}
	const room = 40 // for the remark
	n := runeStart(text, MaxLine-room)
	return fmt.Sprintf("%s … [cut, %d bytes more]", text[:n], len(text)-n)
}

// runeStart returns the greatest index up to n at which a character starts.
func runeStart(text string, n int) int {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(text[i]) {
			return i
		}
	}
	return n
}

// appendLine formats an entry as it stands in node.log:
//
//	2026-01-02T03:04:05.678Z ERROR kernel: text
func appendLine(b []byte, e *Entry) []byte {
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, ' ')
	b = append(b, levelName(e.Level)...)
	b = append(b, ' ')
	b = append(b, e.Source...)
	b = append(b, ": "...)
	b = append(b, e.Text...)
	return append(b, '\n')
}

// String formats an entry as it stands in the log file, without the newline.
func (e Entry) String() string {
	b := appendLine(make([]byte, 0, 64+len(e.Text)), &e)
	return string(b[:len(b)-1])
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARN"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}
