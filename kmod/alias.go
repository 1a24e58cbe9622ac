package kmod

import (
	"fmt"
	"slices"
	"strings"
)

// gram is how many characters of a pattern's longest literal part are looked
// up. Eight tell device numbers and the ends of "compatible" strings apart.
const gram = 8

// maxModalias is more than sysfs gives: a page.
const maxModalias = 8 << 10

// aliases finds the patterns that match a modalias. Thousands of patterns of
// device trees begin alike ("of:N*T*C…"), so sorting by prefix would leave most
// of them to be tried one by one. Every pattern has its place by the hash of
// the last eight characters of its longest literal part; a modalias is asked for
// all its runs of eight. Patterns remain where they are, in the text of
// modules.alias.
type aliases struct {
	text    string
	entries []aliasEntry
	heads   []int32 // by hash: 1 + index of the first entry
	short   []int32 // entries with wildcards and too little else
}

type aliasEntry struct {
	at            uint32 // of the pattern in text; a space and the module's name follow it
	pattern, name uint16 // lengths
	next          int32  // 1 + index
}

func (e aliasEntry) in(text string) (pattern, name string) {
	at := int(e.at)
	end := at + int(e.pattern)
	return text[at:end], text[end+1 : end+1+int(e.name)]
}

func parseAliases(text string) (*aliases, error) {
	if len(text) > 1<<30 {
		return nil, fmt.Errorf("read modules.alias: %d bytes are too many", len(text))
	}
	a := &aliases{text: text}
	count := strings.Count(text, "\n") + 1
	a.entries = make([]aliasEntry, 0, count)
	size := 1
	for size < count {
		size *= 2
	}
	a.heads = make([]int32, size)
	line := 0
	for start := 0; start < len(text); {
		end := start + strings.IndexByte(text[start:], '\n')
		if end < start {
			end = len(text)
		}
		line++
		at, rest := start, text[start:end]
		start = end + 1
		if rest == "" || rest[0] == '#' {
			continue
		}
		// An alias may have spaces in it ("soc card …"), a name has none.
		space := strings.LastIndexByte(rest, ' ')
		const word = "alias "
		if !strings.HasPrefix(rest, word) || space <= len(word) || space == len(rest)-1 || len(rest) >= 1<<16 {
			return nil, fmt.Errorf("read modules.alias: line %d: want \"alias PATTERN MODULE\"", line)
		}
		a.add(aliasEntry{at: uint32(at + len(word)), pattern: uint16(space - len(word)), name: uint16(len(rest) - space - 1)})
	}
	return a, nil
}

func (a *aliases) add(e aliasEntry) {
	index := int32(len(a.entries))
	pattern, _ := e.in(a.text)
	literal, exact := longestLiteral(pattern)
	switch {
	case exact:
		slot := &a.heads[hash(pattern)&uint32(len(a.heads)-1)]
		e.next, *slot = *slot, index+1
	case len(literal) < gram:
		a.short = append(a.short, index)
	default:
		slot := &a.heads[hash(literal[len(literal)-gram:])&uint32(len(a.heads)-1)]
		e.next, *slot = *slot, index+1
	}
	a.entries = append(a.entries, e)
}

// lookup calls found with the modules whose patterns match s, in the order of
// modules.alias, each module once.
func (a *aliases) lookup(s string, found func(module string)) {
	if s == "" || len(s) > maxModalias {
		return
	}
	var buffer [16]int32
	hits := buffer[:0]
	try := func(run string) {
		for i := a.heads[hash(run)&uint32(len(a.heads)-1)]; i != 0; i = a.entries[i-1].next {
			pattern, _ := a.entries[i-1].in(a.text)
			if matchPattern(pattern, s) && !slices.Contains(hits, i-1) {
				hits = append(hits, i-1)
			}
		}
	}
	try(s)
	for i := 0; i+gram <= len(s); i++ {
		try(s[i : i+gram])
	}
	for _, i := range a.short {
		if pattern, _ := a.entries[i].in(a.text); matchPattern(pattern, s) && !slices.Contains(hits, i) {
			hits = append(hits, i)
		}
	}
	slices.Sort(hits)
	for n, i := range hits {
		_, name := a.entries[i].in(a.text)
		seen := slices.ContainsFunc(hits[:n], func(j int32) bool {
			_, other := a.entries[j].in(a.text)
			return other == name
		})
		if !seen {
			found(name)
		}
	}
}

// hash is FNV-1a over folded characters.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(fold(s[i]))) * 16777619
	}
	return h
}
