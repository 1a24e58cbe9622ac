package gobuild

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
)

// Module is a Go module that a program was built from.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum"`
}

// Modules returns the modules recorded in a compiled program, this repository
// left out.
func Modules(program string) ([]Module, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read the module list of %s: %w", program, err)
	}
	var modules []Module
	deps := info.Deps
	// A module has a checksum; what was compiled from a folder has none.
	if info.Main.Sum != "" {
		deps = append([]*debug.Module{&info.Main}, deps...)
	}
	for _, dep := range deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		modules = append(modules, Module{Path: dep.Path, Version: dep.Version, Sum: dep.Sum})
	}
	return modules, nil
}
