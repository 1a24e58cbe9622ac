package debian

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pault.ag/go/debian/dependency"
)

// Request names a package to resolve.
type Request struct {
	Name string
	// Alone leaves out what the package depends on: kernels, firmware and EFI
	// programs are only unpacked and need nothing of it.
	Alone bool
}

// Requests makes a request with dependencies of every name.
func Requests(names ...string) []Request {
	all := make([]Request, len(names))
	for i, name := range names {
		all[i].Name = name
	}
	return all
}

// Resolve returns the packages asked for and all that they depend on
// (Depends, Pre-Depends), sorted by name. An alternative that something chosen
// before fulfils wins; else it is the first that the archive can fulfil: by
// the package of that name, or else by the first provider in the order of
// names. Packages asked for are chosen before all others, so that asking for
// one decides between alternatives. Recommends, Conflicts and Essential
// packages play no part. A dependency that cannot be met is an error.
func (a *Archive) Resolve(requests []Request) ([]Package, error) {
	r := resolution{archive: a, chosen: map[string]bool{}, provided: map[string][]int{}}
	var queue []int
	for _, request := range requests {
		i, ok := a.byName[request.Name]
		if !ok {
			return nil, a.unknown(request.Name)
		}
		r.choose(i)
		if !request.Alone {
			queue = append(queue, i)
		}
	}
	slices.Sort(queue) // the order of requests must not matter
	queue = slices.Compact(queue)
	for ; len(queue) > 0; queue = queue[1:] {
		p := &a.packages[queue[0]]
		for _, field := range []string{p.PreDepends, p.Depends} {
			more, err := r.need(field)
			if err != nil {
				return nil, fmt.Errorf("resolve %s: %w", p, err)
			}
			queue = append(queue, more...)
		}
	}
	packages := make([]Package, 0, len(r.chosen))
	for name := range r.chosen {
		packages = append(packages, a.packages[a.byName[name]])
	}
	slices.SortFunc(packages, func(x, y Package) int { return strings.Compare(x.Name, y.Name) })
	return packages, nil
}

// Lookup returns the package of this name in its highest version.
func (a *Archive) Lookup(name string) (Package, bool) {
	i, ok := a.byName[name]
	if !ok {
		return Package{}, false
	}
	return a.packages[i], true
}

// DependencyOf returns the package behind a meta package: of those that meta
// depends on itself, the first whose name has the prefix.
//
//	kernel, err := archive.DependencyOf("linux-image-amd64", "linux-image-")
func (a *Archive) DependencyOf(meta, prefix string) (Package, error) {
	i, ok := a.byName[meta]
	if !ok {
		return Package{}, a.unknown(meta)
	}
	relations, err := parseRelations(a.packages[i].Depends)
	if err != nil {
		return Package{}, fmt.Errorf("resolve %s: %w", meta, err)
	}
	r := resolution{archive: a}
	for _, relation := range relations {
		for _, p := range relation.Possibilities {
			if j, ok := a.byName[p.Name]; ok && strings.HasPrefix(p.Name, prefix) && r.fulfils(j, p) {
				return a.packages[j], nil
			}
		}
	}
	return Package{}, fmt.Errorf("resolve %s: it depends on no package %s… that the archive has", a.packages[i], prefix)
}

// resolution is the state of one Resolve.
type resolution struct {
	archive  *Archive
	chosen   map[string]bool
	provided map[string][]int // chosen packages, by what they provide
}

func (r *resolution) choose(i int) bool {
	p := &r.archive.packages[i]
	if r.chosen[p.Name] {
		return false
	}
	r.chosen[p.Name] = true
	for name := range provides(p.Provides) {
		r.provided[name] = append(r.provided[name], i)
	}
	return true
}

// need chooses what a dependency field still lacks.
func (r *resolution) need(field string) (added []int, err error) {
	relations, err := parseRelations(field)
	if err != nil {
		return nil, err
	}
	for _, relation := range relations {
		i, ok := r.pick(relation.Possibilities)
		if !ok {
			return nil, r.archive.unmet(relation)
		}
		if i >= 0 && r.choose(i) {
			added = append(added, i)
		}
	}
	return added, nil
}

// pick returns the package to add for a relation, -1 if nothing is to be added.
func (r *resolution) pick(alternatives []dependency.Possibility) (int, bool) {
	for _, p := range alternatives {
		if i, ok := r.archive.byName[p.Name]; ok && r.chosen[p.Name] && r.fulfils(i, p) {
			return -1, true
		}
		for _, i := range r.provided[p.Name] {
			if r.fulfils(i, p) {
				return -1, true
			}
		}
	}
	for _, p := range alternatives {
		if i, ok := r.archive.byName[p.Name]; ok && r.fulfils(i, p) {
			return i, true
		}
		for _, i := range r.archive.providers[p.Name] {
			if r.fulfils(i, p) {
				return i, true
			}
		}
	}
	return 0, false
}

// fulfils tells whether package i, by its name or by what it provides, is what
// p asks for. Only a provision with a version fulfils a demand with one
// (Debian Policy 7.5).
func (r *resolution) fulfils(i int, p dependency.Possibility) bool {
	pkg := &r.archive.packages[i]
	if p.Arch != nil && p.Arch.CPU != "any" && p.Arch.String() != r.archive.arch {
		return false
	}
	have := pkg.Version
	if pkg.Name != p.Name {
		v, ok := "", false
		for name, at := range provides(pkg.Provides) {
			if name == p.Name && (at != "" || p.Version == nil) {
				v, ok = at, true
			}
		}
		if !ok {
			return false
		}
		have = v
	}
	if p.Version == nil {
		return true
	}
	order, err := compare(have, p.Version.Number)
	if err != nil {
		return false
	}
	switch p.Version.Operator {
	case "<<":
		return order < 0
	case "<=":
		return order <= 0
	case "=":
		return order == 0
	case ">=":
		return order >= 0
	case ">>":
		return order > 0
	}
	return false
}

func parseRelations(field string) ([]dependency.Relation, error) {
	d, err := dependency.Parse(field)
	if err != nil {
		return nil, fmt.Errorf("relations %.80q: %w", field, err)
	}
	for _, r := range d.Relations {
		for _, p := range r.Possibilities {
			if p.Substvar || !validName(p.Name) {
				return nil, fmt.Errorf("relations %.80q: %.60q is no package name", field, p.Name)
			}
		}
	}
	return slices.DeleteFunc(d.Relations, func(r dependency.Relation) bool { return len(r.Possibilities) == 0 }), nil
}

// unmet says what stands in the way of a relation.
func (a *Archive) unmet(relation dependency.Relation) error {
	var reasons []string
	for _, p := range relation.Possibilities {
		if i, ok := a.byName[p.Name]; ok {
			reasons = append(reasons, fmt.Sprintf("%s (the archive has %s)", p, a.packages[i].Version))
		} else {
			reasons = append(reasons, p.String())
		}
	}
	return fmt.Errorf("it needs %s, which the archive cannot fulfil", strings.Join(reasons, " or "))
}

// unknown says what else a name may have been meant for.
func (a *Archive) unknown(name string) error {
	if providers := a.providers[name]; len(providers) > 0 {
		var names []string
		for _, i := range providers[:min(len(providers), 5)] {
			names = append(names, a.packages[i].Name)
		}
		return fmt.Errorf("resolve %s: it is a virtual package: name one that provides it, such as %s", name, strings.Join(names, ", "))
	}
	err := errors.New("the archive has no package of that name")
	if near := a.near(name); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, ", "))
	}
	return fmt.Errorf("resolve %s: %w", name, err)
}
