package debian

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// maxSourceBytes bounds one file of apt's sources.
const maxSourceBytes = 1 << 20

// readSources returns the entries for binary packages in apt's order: the
// main file, then the files of the folder by name.
func readSources(root fs.FS) ([]source, error) {
	names, err := fs.Glob(root, "etc/apt/sources.list.d/*")
	if err != nil {
		return nil, err
	}
	var all []source
	for _, name := range append([]string{"etc/apt/sources.list"}, names...) {
		parse := parseList
		switch {
		case strings.HasSuffix(name, ".sources"):
			parse = parseDeb822
		case !strings.HasSuffix(name, ".list"):
			continue // apt passes over other endings too
		}
		text, err := readSourceFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		sources, err := parse("/"+name, text)
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		all = append(all, sources...)
	}
	return all, nil
}

func readSourceFile(root fs.FS, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSourceBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSourceBytes {
		return "", fmt.Errorf("/%s is larger than %d bytes", name, maxSourceBytes)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n"), nil
}

// parseList reads the one-line style (sources.list(5)):
//
//	deb [ option=value … ] uri suite component…
func parseList(where, text string) ([]source, error) {
	var all []source
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		kind, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		if kind != "deb" {
			continue
		}
		s := source{where: fmt.Sprintf("%s:%d", where, number)}
		rest = strings.TrimSpace(rest)
		if options, ok := strings.CutPrefix(rest, "["); ok {
			options, rest, ok = strings.Cut(options, "]")
			if !ok {
				return nil, fmt.Errorf("%s: the options' closing bracket is missing", s.where)
			}
			for _, option := range strings.Fields(options) {
				if by, ok := strings.CutPrefix(option, "signed-by="); ok {
					s.signedBy = by
				}
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: expected \"deb URI SUITE COMPONENT…\"", s.where)
		}
		s.uris, s.suites, s.components = fields[:1], fields[1:2], fields[2:]
		all = append(all, s)
	}
	return all, nil
}

// parseDeb822 reads the stanza style (sources.list(5), deb822(5)). Field names
// are in any case.
func parseDeb822(where, text string) ([]source, error) {
	var all []source
	err := eachStanza(plainStanzas(text), func(stanza string) error {
		s := source{where: where}
		var types []string
		enabled := true
		err := eachField(stanza, func(name, value string) error {
			switch strings.ToLower(name) {
			case "types":
				types = strings.Fields(value)
			case "uris":
				s.uris = strings.Fields(value)
			case "suites":
				s.suites = strings.Fields(value)
			case "components":
				s.components = strings.Fields(value)
			case "signed-by":
				s.signedBy = value
			case "enabled":
				enabled = !falsehood(value)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if !enabled {
			return nil
		}
		if len(types) == 0 || len(s.uris) == 0 || len(s.suites) == 0 {
			return fmt.Errorf("%s: a stanza lacks Types, URIs or Suites", where)
		}
		if slices.Contains(types, "deb") {
			all = append(all, s)
		}
		return nil
	})
	return all, err
}

// plainStanzas drops comments, which may stand within a field, and empties
// lines of nothing but spaces: editors leave some, and apt takes them for the
// end of a stanza.
func plainStanzas(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			b.WriteByte('\n')
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}

// falsehood knows the words that apt takes for no.
func falsehood(s string) bool {
	switch strings.ToLower(s) {
	case "no", "false", "without", "off", "disable", "0":
		return true
	}
	return false
}
