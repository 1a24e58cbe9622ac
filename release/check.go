package release

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep JSON may be nested; a manifest of this format needs 3.
const maxDepth = 16

// wellFormed refuses what encoding/json would read in a way of its own: a
// member that is given twice, of which it takes the last; a member in another
// case; invalid UTF-8. Two programs must not read two manifests in one file.
func wellFormed(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the text is not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	token, err := decoder.Token()
	if err != nil {
		return syntaxError(data, decoder, err)
	}
	if token != json.Delim('{') {
		return errors.New("a JSON object is expected")
	}
	if err := object(data, decoder, 1); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// object reads the members of an object whose "{" has been read.
func object(data []byte, decoder *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for {
		token, err := decoder.Token()
		if err != nil {
			return syntaxError(data, decoder, err)
		}
		if token == json.Delim('}') {
			return nil
		}
		name, _ := token.(string)
		// encoding/json matches names in any case, and takes "ſize" for "size".
		if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return fmt.Errorf("line %d: member %.40q has other letters than ASCII", lineOf(data, decoder), name)
		}
		folded := strings.ToLower(name)
		if seen[folded] {
			return fmt.Errorf("line %d: member %.40q is given twice", lineOf(data, decoder), name)
		}
		seen[folded] = true
		if known[folded] != "" && known[folded] != name {
			return fmt.Errorf("line %d: member %.40q: it is written %q", lineOf(data, decoder), name, known[folded])
		}
		if err := value(data, decoder, depth); err != nil {
			return err
		}
	}
}

// known maps the names of all members in lower case to themselves.
var known = func() map[string]string {
	names := map[string]string{}
	for _, name := range strings.Fields(`format version board architecture commit time kernel verity overlays artifacts
		packages modules images reference tools name kind size sha256 source sourceVersion filename path sum`) {
		names[strings.ToLower(name)] = name
	}
	return names
}()

func value(data []byte, decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return syntaxError(data, decoder, err)
	}
	if depth > maxDepth {
		return fmt.Errorf("line %d: values are nested too deeply", lineOf(data, decoder))
	}
	switch token {
	case json.Delim('{'):
		return object(data, decoder, depth+1)
	case json.Delim('['):
		for decoder.More() {
			if err := value(data, decoder, depth+1); err != nil {
				return err
			}
		}
		if _, err := decoder.Token(); err != nil {
			return syntaxError(data, decoder, err)
		}
	case nil:
		return fmt.Errorf("line %d: null stands for nothing in a manifest", lineOf(data, decoder))
	}
	return nil
}

func syntaxError(data []byte, decoder *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the file is cut off")
	}
	return fmt.Errorf("line %d: %w", lineOf(data, decoder), err)
}

func lineOf(data []byte, decoder *json.Decoder) int {
	return bytes.Count(data[:min(int(decoder.InputOffset()), len(data))], []byte{'\n'}) + 1
}

// check says what cannot be in a manifest.
func (m *Manifest) check() error {
	if _, err := ParseVersion(string(m.Version)); err != nil {
		return err
	}
	if m.Commit != "" && (len(m.Commit) > 64 || strings.Trim(m.Commit, "0123456789abcdef") != "") {
		return fmt.Errorf("commit %.80q is not written in lower-case hexadecimal", m.Commit)
	}
	// RFC 3339 has four digits for the year, and tar and FAT know no time before 1970.
	if m.Time.Unix() < 0 || m.Time.Year() > 9999 || m.Time.Nanosecond() != 0 || m.Time.Location() != time.UTC {
		return fmt.Errorf("time %v is no whole second in UTC after 1970", m.Time)
	}
	for _, text := range []struct{ name, value string }{
		{"board", m.Board}, {"architecture", m.Architecture}, {"kernel", m.Kernel}, {"verity", m.Verity},
	} {
		if err := checkText(text.name, text.value); err != nil {
			return err
		}
	}
	if strings.ContainsAny(m.Board, "/\\") || strings.HasPrefix(m.Board, ".") {
		return fmt.Errorf("board %q is no name of a board", m.Board)
	}
	if len(m.Artifacts) == 0 {
		return errors.New("it has no artifacts")
	}
	for _, n := range []int{len(m.Overlays), len(m.Artifacts), len(m.Packages), len(m.Modules), len(m.Images), len(m.Tools)} {
		if n > maxEntries {
			return fmt.Errorf("a list has %d entries, and %d are the most", n, maxEntries)
		}
	}
	for i, overlay := range m.Overlays {
		if err := checkText(fmt.Sprintf("overlays[%d]", i), overlay); err != nil {
			return err
		}
	}
	return errors.Join(m.checkArtifacts(), m.checkSources())
}

func (m *Manifest) checkArtifacts() error {
	seen := map[string]bool{}
	for i, a := range m.Artifacts {
		if err := checkText(fmt.Sprintf("artifacts[%d].name", i), a.Name); err != nil {
			return err
		}
		if err := checkText(fmt.Sprintf("artifacts[%d].kind", i), string(a.Kind)); err != nil {
			return err
		}
		switch {
		case strings.ContainsAny(a.Name, "/\\") || strings.HasPrefix(a.Name, "."):
			return fmt.Errorf("artifacts[%d]: %q is no file name without a folder", i, a.Name)
		case seen[a.Name]:
			return fmt.Errorf("artifacts[%d]: %q is there twice", i, a.Name)
		case a.Size <= 0:
			return fmt.Errorf("artifacts[%d]: %q has a size of %d bytes", i, a.Name, a.Size)
		case a.SHA256 == Digest{}:
			return fmt.Errorf("artifacts[%d]: %q has no digest", i, a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// checkSources checks what the artifacts were made of.
func (m *Manifest) checkSources() error {
	for i, p := range m.Packages {
		at := fmt.Sprintf("packages[%d].", i)
		err := errors.Join(checkText(at+"name", p.Name), checkText(at+"version", p.Version),
			checkText(at+"architecture", p.Architecture), checkText(at+"filename", p.Filename))
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(p.Filename, "/") || strings.Contains("/"+p.Filename+"/", "/../"):
			return fmt.Errorf("packages[%d]: %q is no path below a mirror", i, p.Filename)
		case p.Size <= 0 || p.SHA256 == Digest{}:
			return fmt.Errorf("packages[%d]: %s has no size or no digest", i, p.Name)
		}
	}
	for i, module := range m.Modules {
		if err := errors.Join(checkText(fmt.Sprintf("modules[%d].path", i), module.Path), checkText(fmt.Sprintf("modules[%d].version", i), module.Version)); err != nil {
			return err
		}
	}
	images := map[string]bool{}
	for i, image := range m.Images {
		if err := checkText(fmt.Sprintf("images[%d].reference", i), image.Reference); err != nil {
			return err
		}
		switch {
		case image.SHA256 == Digest{}:
			return fmt.Errorf("images[%d]: %s has no digest", i, image.Reference)
		case images[image.Reference]:
			return fmt.Errorf("images[%d]: %q is there twice", i, image.Reference)
		}
		images[image.Reference] = true
	}
	for i, tool := range m.Tools {
		if err := errors.Join(checkText(fmt.Sprintf("tools[%d].name", i), tool.Name), checkText(fmt.Sprintf("tools[%d].version", i), tool.Version)); err != nil {
			return err
		}
	}
	return nil
}

// checkText checks a text that has to be there: one line, not too long.
func checkText(name, text string) error {
	if text == "" {
		return fmt.Errorf("%s is missing", name)
	}
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s: %.40q is too long or has control characters", name, text)
	}
	return nil
}
