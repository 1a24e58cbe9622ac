package kmod

import (
	"bytes"
	"fmt"
	"slices"
)

// File is a module file of a release.
type File struct {
	Path string // relative to lib/modules/RELEASE: kernel/fs/ext4/ext4.ko
	Info Info
}

// Dep returns modules.dep for these modules: a line for each with what must be
// loaded before it, the last one first. The order of files is the one of
// modules.order; lines, and modules within a line, are ordered as depmod does.
//
// It fails when a module depends on one that is not among files, when two have
// the same name, and on a circle.
func Dep(files []File) ([]byte, error) {
	deps, err := direct(files)
	if err != nil {
		return nil, err
	}
	rank, err := sortDependencies(files, deps)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	seen := make([]int, len(files)) // 1 + the last module this one was collected for
	var closure []int
	for i := range files {
		closure = closure[:0]
		for todo := []int{i}; len(todo) > 0; {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, d := range deps[next] {
				if seen[d] != i+1 {
					seen[d] = i + 1
					closure = append(closure, d)
					todo = append(todo, d)
				}
			}
		}
		slices.SortFunc(closure, func(a, b int) int { return rank[a] - rank[b] })
		out.WriteString(files[i].Path)
		out.WriteByte(':')
		for _, d := range closure {
			out.WriteByte(' ')
			out.WriteString(files[d].Path)
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// direct returns the indexes of the modules that each module depends on.
func direct(files []File) ([][]int, error) {
	byName := make(map[string]int, len(files))
	for i, f := range files {
		name := NameOf(f.Path)
		if name == "" {
			return nil, fmt.Errorf("write modules.dep: %s is no module: its name does not end in .ko", f.Path)
		}
		if other, ok := byName[name]; ok {
			return nil, fmt.Errorf("write modules.dep: %s and %s are both module %s", files[other].Path, f.Path, name)
		}
		byName[name] = i
	}
	deps := make([][]int, len(files))
	for i, f := range files {
		for _, name := range f.Info.Depends {
			d, ok := byName[Normalize(name)]
			if !ok {
				return nil, fmt.Errorf("write modules.dep: %s depends on module %s, which is not among these modules", f.Path, name)
			}
			if !slices.Contains(deps[i], d) {
				deps[i] = append(deps[i], d)
			}
		}
	}
	return deps, nil
}

// sortDependencies gives each module its place in one order in which users
// come before what they use: depmod's, so that its output can be compared.
func sortDependencies(files []File, deps [][]int) ([]int, error) {
	users := make([]int, len(files))
	for _, list := range deps {
		for _, d := range list {
			users[d]++
		}
	}
	var roots []int
	for i, n := range users {
		if n == 0 {
			roots = append(roots, i)
		}
	}
	rank := make([]int, len(files))
	sorted := 0
	for len(roots) > 0 {
		next := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		rank[next] = sorted
		sorted++
		for _, d := range deps[next] {
			if users[d]--; users[d] == 0 {
				roots = append(roots, d)
			}
		}
	}
	if sorted < len(files) {
		for i, n := range users {
			if n > 0 {
				return nil, fmt.Errorf("write modules.dep: %s is part of a circle of dependencies", files[i].Path)
			}
		}
	}
	return rank, nil
}

// Alias returns modules.alias for these modules.
func Alias(files []File) []byte {
	var out bytes.Buffer
	out.WriteString("# Aliases extracted from modules themselves.\n")
	for _, f := range files {
		for _, alias := range f.Info.Aliases {
			fmt.Fprintf(&out, "alias %s %s\n", alias, NameOf(f.Path))
		}
	}
	return out.Bytes()
}

// Softdeps returns modules.softdep for these modules.
func Softdeps(files []File) []byte {
	var out bytes.Buffer
	out.WriteString("# Soft dependencies extracted from modules themselves.\n")
	for _, f := range files {
		for _, dep := range f.Info.Softdeps {
			fmt.Fprintf(&out, "softdep %s %s\n", NameOf(f.Path), dep)
		}
	}
	return out.Bytes()
}
