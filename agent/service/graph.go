package service

import (
	"fmt"
	"slices"
	"strings"
)

// waitsFor returns what a service starts after, each name once.
func (s Spec) waitsFor() []string {
	all := slices.Concat(s.After, s.Requires)
	slices.Sort(all)
	return slices.Compact(all)
}

// checkGraph refuses names that are used twice or are not there, and cycles.
func checkGraph(specs []Spec) error {
	byName := map[string]Spec{}
	for _, s := range specs {
		if _, twice := byName[s.Name]; twice {
			return fmt.Errorf("service %s: there are two of this name", s.Name)
		}
		byName[s.Name] = s
	}
	for _, s := range specs {
		for _, name := range s.waitsFor() {
			if _, ok := byName[name]; !ok {
				return fmt.Errorf("service %s: it comes after %q, and there is no such service", s.Name, name)
			}
		}
	}
	const visiting, done = 1, 2
	mark := map[string]int{}
	var path []string
	var visit func(name string) error
	visit = func(name string) error {
		switch mark[name] {
		case done:
			return nil
		case visiting:
			cycle := append(path[slices.Index(path, name):], name)
			return fmt.Errorf("services wait for each other: %s", strings.Join(cycle, " → "))
		}
		mark[name] = visiting
		path = append(path, name)
		for _, next := range byName[name].waitsFor() {
			if err := visit(next); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		mark[name] = done
		return nil
	}
	for _, s := range specs {
		if err := visit(s.Name); err != nil {
			return err
		}
	}
	return nil
}
