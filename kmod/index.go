package kmod

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
)

// ErrNotFound says that no module has this name and no pattern matches it.
var ErrNotFound = errors.New("no such module")

// Module is one step of loading.
type Module struct {
	Name string // with '_' for '-'
	Path string // relative to lib/modules/RELEASE
	// Soft modules come along because another one likes them loaded. When one
	// fails, the others are loaded all the same.
	Soft bool
}

// Index answers which module files belong to a name or an alias. It may be used
// from several goroutines.
type Index struct {
	modules  []indexed
	byName   map[string]int32
	softdeps map[int32]Softdep
	builtin  map[string]struct{}
	aliases  func() (*aliases, error)
}

// indexed is a line of modules.dep. Its strings are parts of that file's text.
type indexed struct {
	name, path, deps string
}

// Texts are the index files of a release.
type Texts struct {
	Dep, Alias, Softdep, Builtin string
}

// Load reads the index files of a release; fsys is its folder,
// lib/modules/RELEASE. modules.dep must be there, the others may be missing.
// Patterns are parsed when the first alias is asked for.
func Load(fsys fs.FS) (*Index, error) {
	var texts Texts
	for _, file := range []struct {
		name string
		text *string
		need bool
	}{
		{"modules.dep", &texts.Dep, true},
		{"modules.alias", &texts.Alias, false},
		{"modules.softdep", &texts.Softdep, false},
		{"modules.builtin", &texts.Builtin, false},
	} {
		text, err := readText(fsys, file.name)
		if err != nil && (file.need || !errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("load module index: %w", err)
		}
		*file.text = text
	}
	return NewIndex(texts)
}

// readText reads a file into one string without a second copy of it.
func readText(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.Grow(int(min(info.Size(), 64<<20)))
	_, err = io.Copy(&text, f)
	return text.String(), err
}

// NewIndex makes an index of texts. It fails on lines that depmod would not write.
func NewIndex(texts Texts) (*Index, error) {
	x := &Index{}
	for _, parse := range []func(*Texts) error{x.parseDep, x.parseSoftdep, x.parseBuiltin} {
		if err := parse(&texts); err != nil {
			return nil, err
		}
	}
	x.aliases = sync.OnceValues(func() (*aliases, error) { return parseAliases(texts.Alias) })
	return x, nil
}

func (x *Index) parseDep(texts *Texts) error {
	count := strings.Count(texts.Dep, "\n") + 1
	x.modules = make([]indexed, 0, count)
	x.byName = make(map[string]int32, count)
	line := 0
	for text := range strings.Lines(texts.Dep) {
		line++
		text = strings.TrimSuffix(text, "\n")
		if text == "" || text[0] == '#' {
			continue
		}
		path, deps, ok := strings.Cut(text, ":")
		name := NameOf(path)
		if !ok || name == "" {
			return fmt.Errorf("read modules.dep: line %d: want \"PATH.ko: PATH.ko …\"", line)
		}
		if _, ok := x.byName[name]; ok {
			return fmt.Errorf("read modules.dep: line %d: a second module %s", line, name)
		}
		x.byName[name] = int32(len(x.modules))
		x.modules = append(x.modules, indexed{name: name, path: path, deps: deps})
	}
	return nil
}

func (x *Index) parseSoftdep(texts *Texts) error {
	x.softdeps = map[int32]Softdep{}
	line := 0
	for text := range strings.Lines(texts.Softdep) {
		line++
		text = strings.TrimSuffix(text, "\n")
		if text == "" || text[0] == '#' {
			continue
		}
		rest, ok := strings.CutPrefix(text, "softdep ")
		name, rest, ok2 := strings.Cut(rest, " ")
		if !ok || !ok2 {
			return fmt.Errorf("read modules.softdep: line %d: want \"softdep MODULE pre: … post: …\"", line)
		}
		i, ok := x.byName[Normalize(name)]
		if !ok {
			continue
		}
		dep := x.softdeps[i]
		dep.parse(rest)
		x.softdeps[i] = dep
	}
	return nil
}

func (x *Index) parseBuiltin(texts *Texts) error {
	x.builtin = make(map[string]struct{}, strings.Count(texts.Builtin, "\n"))
	line := 0
	for text := range strings.Lines(texts.Builtin) {
		line++
		text = strings.TrimSuffix(text, "\n")
		if text == "" {
			continue
		}
		name := NameOf(text)
		if name == "" {
			return fmt.Errorf("read modules.builtin: line %d: want \"PATH.ko\"", line)
		}
		x.builtin[name] = struct{}{}
	}
	return nil
}

// Builtin reports whether a module is part of the kernel image.
func (x *Index) Builtin(name string) bool {
	_, ok := x.builtin[Normalize(name)]
	return ok
}

// Len returns how many modules there are.
func (x *Index) Len() int { return len(x.modules) }

// All returns every module, in the order of modules.dep.
func (x *Index) All() []Module {
	all := make([]Module, len(x.modules))
	for i, m := range x.modules {
		all[i] = Module{Name: m.name, Path: m.path}
	}
	return all
}

// Resolve returns the modules to load for a module's name or an alias, in the
// order in which to load them: dependencies first, soft dependencies before and
// after the module they belong to. A name comes before an alias; if several
// modules have a matching alias, all are returned in the order of
// modules.alias. The result is empty when the name is built into the kernel.
// The error wraps ErrNotFound when nothing fits.
func (x *Index) Resolve(nameOrAlias string) ([]Module, error) {
	walk := walk{index: x, state: make([]visit, len(x.modules))}
	found, err := walk.request(nameOrAlias, false)
	if err != nil {
		return nil, err
	}
	if !found && !x.Builtin(nameOrAlias) {
		return nil, fmt.Errorf("%s: %w", nameOrAlias, ErrNotFound)
	}
	modules := make([]Module, len(walk.order))
	for n, i := range walk.order {
		m := x.modules[i]
		modules[n] = Module{Name: m.name, Path: m.path, Soft: walk.state[i] == soft}
	}
	return modules, nil
}

// Names returns the modules that a name or an alias asks for, without what they
// need: the one of this name, or else those with an alias that matches. It is
// empty when the name is built into the kernel. The error wraps ErrNotFound when
// nothing fits.
func (x *Index) Names(nameOrAlias string) ([]string, error) {
	if i, ok := x.byName[Normalize(nameOrAlias)]; ok {
		return []string{x.modules[i].name}, nil
	}
	if x.Builtin(nameOrAlias) {
		return nil, nil
	}
	names, err := x.Aliased(nameOrAlias)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: %w", nameOrAlias, ErrNotFound)
	}
	return names, err
}

// Aliased returns the names of the modules with an alias that matches, in the
// order of modules.alias.
func (x *Index) Aliased(alias string) ([]string, error) {
	a, err := x.aliases()
	if err != nil {
		return nil, err
	}
	var names []string
	a.lookup(alias, func(name string) { names = append(names, name) })
	return names, nil
}

type visit uint8

const (
	unseen visit = iota
	soft
	hard
)

// walk collects modules depth first. A module that was seen is not entered
// again, which also ends circles of soft dependencies.
type walk struct {
	index *Index
	state []visit
	order []int32
}

// request adds what a name or an alias stands for, if there is anything.
func (w *walk) request(nameOrAlias string, softly bool) (found bool, err error) {
	x := w.index
	if i, ok := x.byName[Normalize(nameOrAlias)]; ok {
		return true, w.module(i, softly)
	}
	if x.Builtin(nameOrAlias) {
		return false, nil
	}
	names, err := x.Aliased(nameOrAlias)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		i, ok := x.byName[Normalize(name)]
		if !ok {
			continue
		}
		found = true
		if err := w.module(i, softly); err != nil {
			return false, err
		}
	}
	return found, nil
}

// module adds the dependencies of a module and the module, each between its own
// soft dependencies.
func (w *walk) module(i int32, softly bool) error {
	deps := strings.TrimRight(w.index.modules[i].deps, " ")
	for deps != "" {
		cut := strings.LastIndexByte(deps, ' ')
		path := deps[cut+1:]
		d, ok := w.index.byName[NameOf(path)]
		if !ok {
			return fmt.Errorf("modules.dep: %s depends on %s, which is not in modules.dep: the image is incomplete", w.index.modules[i].path, path)
		}
		if err := w.between(d, softly); err != nil {
			return err
		}
		deps = strings.TrimRight(deps[:max(cut, 0)], " ")
	}
	return w.between(i, softly)
}

// between adds one module between its soft dependencies.
func (w *walk) between(i int32, softly bool) error {
	state := hard
	if softly {
		state = soft
	}
	if w.state[i] != unseen {
		w.state[i] = max(w.state[i], state)
		return nil
	}
	w.state[i] = state
	dep := w.index.softdeps[i]
	for _, name := range dep.Pre {
		if _, err := w.request(name, true); err != nil {
			return err
		}
	}
	w.order = append(w.order, i)
	for _, name := range dep.Post {
		if _, err := w.request(name, true); err != nil {
			return err
		}
	}
	return nil
}
