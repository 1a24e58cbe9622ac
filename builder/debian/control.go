package debian

import (
	"fmt"
	"strings"
)

// eachStanza calls f for every paragraph of a control file (deb822(5)).
// Paragraphs share their memory with text.
func eachStanza(text string, f func(stanza string) error) error {
	for {
		text = strings.TrimLeft(text, "\n")
		if text == "" {
			return nil
		}
		stanza := text
		if end := strings.Index(text, "\n\n"); end >= 0 {
			stanza, text = text[:end+1], text[end+2:]
		} else {
			text = ""
		}
		if err := f(stanza); err != nil {
			return err
		}
	}
}

// eachField calls f for every field of one paragraph. A value keeps the line
// breaks of its continuation lines and is trimmed at both ends. It shares its
// memory with stanza.
func eachField(stanza string, f func(name, value string) error) error {
	for len(stanza) > 0 {
		end := endOfField(stanza)
		field := stanza[:end]
		stanza = stanza[end:]
		name, value, ok := strings.Cut(field, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\n") {
			line, _, _ := strings.Cut(field, "\n")
			return fmt.Errorf("%.60q is no field: expected \"Name: value\"", line)
		}
		if err := f(name, strings.TrimSpace(value)); err != nil {
			return err
		}
	}
	return nil
}

// endOfField returns the length of the first field, with its continuation lines.
func endOfField(stanza string) int {
	end := 0
	for {
		next := strings.IndexByte(stanza[end:], '\n')
		if next < 0 {
			return len(stanza)
		}
		end += next + 1
		if end == len(stanza) || stanza[end] != ' ' && stanza[end] != '\t' {
			return end
		}
	}
}
