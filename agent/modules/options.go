package modules

import (
	"strings"

	"github.com/skerry-os/skerry/kmod"
)

// settings are what people say about modules.
type settings struct {
	params    map[string]string // module and its parameters, "a=1 b=2"
	blacklist map[string]bool   // not to be loaded for a device
}

// commandLine reads the kernel's command line: "module.param=value" for modules
// that are not built in, as modprobe(8) does, and "modprobe.blacklist=a,b". What
// is said there comes after options and so wins. Quoted values may have
// spaces, and words after "--" are for init.
func commandLine(line string, options map[string]string) settings {
	s := settings{params: map[string]string{}, blacklist: map[string]bool{}}
	for module, params := range options {
		s.add(kmod.Normalize(module), params)
	}
	for line != "" {
		word := firstWord(line)
		line = strings.TrimLeft(line[len(word):], " \t\n")
		if word == "--" {
			break
		}
		word = strings.TrimPrefix(word, `"`)
		name, value, _ := strings.Cut(word, "=")
		module, param, ok := strings.Cut(name, ".")
		if !ok || module == "" || param == "" {
			continue
		}
		if module == "modprobe" && param == "blacklist" {
			for name := range strings.SplitSeq(value, ",") {
				s.blacklist[kmod.Normalize(name)] = true
			}
			continue
		}
		s.add(kmod.Normalize(module), word[len(module)+1:])
	}
	return s
}

func (s *settings) add(module, params string) {
	if params == "" {
		return
	}
	if old := s.params[module]; old != "" {
		params = old + " " + params
	}
	s.params[module] = params
}

// firstWord returns a line up to the first space outside of quotes.
func firstWord(line string) string {
	quoted := false
	for i := range len(line) {
		switch line[i] {
		case '"':
			quoted = !quoted
		case ' ', '\t', '\n':
			if !quoted {
				return line[:i]
			}
		}
	}
	return line
}
