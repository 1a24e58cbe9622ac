package strictyaml

import "unicode/utf8"

// scan looks at the bytes before the parser does: for what no YAML file may
// contain, for line ends that editors and the parser would count differently,
// and for more elements than the parser should be asked to build.
func scan(doc *Document, data []byte) {
	line, column, elements := 1, 1, 0
	report := func(text string) {
		doc.add(Problem{Line: line, Column: column, Text: text})
	}
	blank := true // nothing but spaces on this line so far
	for i := 0; i < len(data); {
		c, size := rune(data[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRune(data[i:])
		}
		next := byte('\n')
		if i+size < len(data) {
			next = data[i+size]
		}
		switch {
		case c == utf8.RuneError && size == 1:
			report("the text is not valid UTF-8: save the file as UTF-8")
			return
		case c == '\r' && (next != '\n' || i+size == len(data)):
			report("a carriage return without a line feed: save the file with LF or CRLF line ends")
			return
		case c == 0x85 || c == 0x2028 || c == 0x2029:
			report("an invisible line separator (" + codePoint(c) + "): begin a new line instead")
			return
		case c < 0x20 && c != '\t' && c != '\n' && c != '\r', c >= 0x7f && c < 0xa0:
			report("a control character (" + codePoint(c) + "): remove it, or write it as an escape in double quotes")
			return
		case c == ',' || c == '[' || c == '{', (c == '-' || c == '?') && isBlank(next):
			elements++
		case blank && c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != '#':
			elements++
		}
		if elements > maxElements {
			report("the file has too many values: 50,000 list entries, keys and brackets are the limit")
			return
		}
		if c == '\n' {
			line, column, blank = line+1, 1, true
		} else {
			column++
			blank = blank && (c == ' ' || c == '\t')
		}
		i += size
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func codePoint(c rune) string {
	const digits = "0123456789ABCDEF"
	return "U+" + string([]byte{digits[c>>12&15], digits[c>>8&15], digits[c>>4&15], digits[c&15]})
}
