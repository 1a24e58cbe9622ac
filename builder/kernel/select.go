package kernel

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/kmod"
)

// Modules are the decompressed modules of a package.
type Modules struct {
	pkg    *Package
	dir    string
	files  []kmod.File
	byName map[string]int
	index  *kmod.Index // over all of them
}

func newModules(p *Package, dir string, files []kmod.File) (*Modules, error) {
	dep, err := kmod.Dep(files)
	if err != nil {
		return nil, err
	}
	m := &Modules{pkg: p, dir: dir, files: files, byName: make(map[string]int, len(files))}
	for i, f := range files {
		m.byName[kmod.NameOf(f.Path)] = i
	}
	m.index, err = kmod.NewIndex(kmod.Texts{
		Dep:     string(dep),
		Alias:   string(kmod.Alias(files)),
		Softdep: string(kmod.Softdeps(files)),
		Builtin: p.builtin,
	})
	return m, err
}

// Selection is a part of a package's modules that is complete in itself.
type Selection struct {
	Files []kmod.File // in the order of modules.order
	all   *Modules
}

// Select returns the modules that the lists ask for, with their dependencies,
// soft dependencies and what they may ask for at run time.
//
// An entry is a module's name (virtio_blk, '-' and '_' are equal) or a pattern
// of paths below kernel/ without ".ko" (drivers/net/ethernet/**,
// net/netfilter/*; "*" stays within a folder). "!" before an entry takes out
// what the list's entries before it brought in, unless another module needs it.
// "?" after an entry says that it may match nothing. An entry for a module that
// is built into the kernel brings in nothing. All entries that match nothing are
// reported at once.
func (m *Modules) Select(lists ...[]string) (*Selection, error) {
	wanted := make([]bool, len(m.files))
	var errs []error
	for _, list := range lists {
		picked := make([]bool, len(m.files))
		for _, entry := range list {
			if err := m.pick(entry, picked); err != nil {
				errs = append(errs, err)
			}
		}
		for i, ok := range picked {
			wanted[i] = wanted[i] || ok
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("select modules of kernel %s: %w", m.pkg.Release, errors.Join(errs...))
	}
	if err := m.complete(wanted); err != nil {
		return nil, fmt.Errorf("select modules of kernel %s: %w", m.pkg.Release, err)
	}
	s := &Selection{all: m}
	for i, ok := range wanted {
		if ok {
			s.Files = append(s.Files, m.files[i])
		}
	}
	return s, nil
}

// pick sets what one entry matches, or clears it.
func (m *Modules) pick(entry string, picked []bool) error {
	pattern, optional := strings.CutSuffix(entry, "?")
	pattern, out := strings.CutPrefix(pattern, "!")
	if strings.Trim(pattern, "*/ ") == "" || strings.ContainsAny(pattern, "?![] ") {
		return fmt.Errorf("module list entry %q: want a module's name or a pattern with * and **", entry)
	}
	found := false
	if !strings.ContainsAny(pattern, "/*") {
		name := kmod.Normalize(pattern)
		i, ok := m.byName[name]
		if ok {
			picked[i] = !out
		}
		_, inside := m.pkg.inside[name]
		found = ok || inside
	} else {
		glob := strings.Split("kernel/"+strings.TrimPrefix(pattern, "/"), "/")
		for i, f := range m.files {
			if matchPath(glob, strings.Split(stem(f.Path), "/")) {
				picked[i] = !out
				found = true
			}
		}
		for _, file := range m.pkg.inside {
			if !found {
				found = matchPath(glob, strings.Split(file, "/"))
			}
		}
	}
	if !found && !optional {
		return fmt.Errorf("module list entry %q matches no module: %s", entry, m.suggest(pattern))
	}
	return nil
}

// matchPath matches path elements; "**" stands for one or more of them at the
// end, and for any number before it.
func matchPath(glob, elements []string) bool {
	for len(glob) > 0 {
		if glob[0] == "**" {
			if len(glob) == 1 {
				return len(elements) > 0
			}
			for i := range elements {
				if matchPath(glob[1:], elements[i:]) {
					return true
				}
			}
			return false
		}
		if len(elements) == 0 {
			return false
		}
		if ok, err := path.Match(glob[0], elements[0]); err != nil || !ok {
			return false
		}
		glob, elements = glob[1:], elements[1:]
	}
	return len(elements) == 0
}

// complete adds what the wanted modules need, until nothing is missing.
func (m *Modules) complete(wanted []bool) error {
	var todo []int
	for i, ok := range wanted {
		if ok {
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		file := m.files[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		for _, name := range append([]string{kmod.NameOf(file.Path)}, file.Info.Weakdeps...) {
			modules, err := m.index.Resolve(name)
			if errors.Is(err, kmod.ErrNotFound) {
				continue // a weak dependency of another configuration
			}
			if err != nil {
				return err
			}
			for _, module := range modules {
				if i := m.byName[module.Name]; !wanted[i] {
					wanted[i] = true
					todo = append(todo, i)
				}
			}
		}
	}
	return nil
}

// Tree returns the modules at usr/lib/modules/RELEASE with modules.dep,
// modules.alias, modules.softdep and modules.builtin. Nobody on a node reads
// modules.builtin.modinfo or the binary indexes, so these are left out.
func (s *Selection) Tree() (*tree.Tree, error) {
	p := s.all.pkg
	t := tree.New()
	for _, f := range s.Files {
		if err := t.AddSource(p.inTree(f.Path), 0o644, filepath.Join(s.all.dir, f.Path)); err != nil {
			return nil, err
		}
	}
	dep, err := kmod.Dep(s.Files)
	if err != nil {
		return nil, err
	}
	for _, index := range []struct {
		name string
		text []byte
	}{
		{"modules.dep", dep},
		{"modules.alias", kmod.Alias(s.Files)},
		{"modules.softdep", kmod.Softdeps(s.Files)},
		{"modules.builtin", []byte(p.builtin)},
	} {
		if err := t.AddBytes(p.inTree(index.name), 0o644, index.text); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Firmware returns the names of firmware files, below /lib/firmware, that the
// modules and the kernel's built-in drivers may ask for, sorted. A few have "*"
// in them, and many exist in no package.
func (s *Selection) Firmware() []string {
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Info.Firmware...)
	}
	for _, info := range s.all.pkg.info {
		names = append(names, info.Firmware...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
