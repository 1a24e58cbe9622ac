// Package kernel takes apart an unpacked Debian linux-image package: which
// kernel it is, and which of its modules an image gets.
//
// It promises that a selection comes with everything it depends on, that the
// indexes written beside it speak of the shipped modules and no others, and the
// same tree for the same package and lists. Module signatures stay as they are.
// Fetching the package is left to builder/debian, loading modules to
// agent/modules. The host's xz does the decompressing.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/kmod"
)

// Package is an unpacked kernel package.
type Package struct {
	Release     string // as uname -r says: 6.12.117+deb13-amd64
	Image       string // host path of the kernel image, boot/vmlinuz-RELEASE
	Config      string // host path of boot/config-RELEASE
	DeviceTrees string // host path of the folder of .dtb files; empty if there is none

	modules string            // host path of lib/modules/RELEASE
	files   []string          // modules below it, in the order of modules.order
	builtin string            // text of modules.builtin
	inside  map[string]string // names of built-in modules and their paths
	info    []kmod.Info       // of built-in modules
}

// Open finds the parts of the package that was unpacked into dir.
func Open(dir string) (*Package, error) {
	p, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open kernel package in %s: %w", dir, err)
	}
	return p, nil
}

func open(dir string) (*Package, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("%d files boot/vmlinuz-*, want one: unpack one linux-image package there", len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	p := &Package{Release: release, Image: images[0], Config: filepath.Join(dir, "boot", "config-"+release)}
	if _, err := os.Stat(p.Config); err != nil {
		return nil, err
	}
	for _, lib := range []string{"usr/lib", "lib"} {
		modules := filepath.Join(dir, lib, "modules", release)
		if _, err := os.Stat(modules); err == nil && p.modules == "" {
			p.modules = modules
		}
		trees := filepath.Join(dir, lib, "linux-image-"+release)
		if _, err := os.Stat(trees); err == nil && p.DeviceTrees == "" {
			p.DeviceTrees = trees
		}
	}
	if p.modules == "" {
		return nil, fmt.Errorf("no folder usr/lib/modules/%s", release)
	}
	if err := p.list(); err != nil {
		return nil, err
	}
	return p, p.readBuiltin()
}

// list finds the modules. Those that modules.order does not name come last, by
// path, as with depmod.
func (p *Package) list() error {
	order, err := os.ReadFile(filepath.Join(p.modules, "modules.order"))
	if err != nil {
		return err
	}
	place := map[string]int{}
	for i, line := range strings.Fields(string(order)) {
		// Kernels since 6.4 write .o where they mean .ko.
		place[strings.TrimSuffix(strings.TrimSuffix(line, ".ko"), ".o")] = i + 1
	}
	err = filepath.WalkDir(filepath.Join(p.modules, "kernel"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(p.modules, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if !strings.HasSuffix(rel, ".ko") && !strings.HasSuffix(rel, ".ko.xz") {
			return fmt.Errorf("%s: neither .ko nor .ko.xz", rel)
		}
		p.files = append(p.files, rel)
		return nil
	})
	if err != nil {
		return err
	}
	rank := func(file string) int {
		if n := place[stem(file)]; n > 0 {
			return n
		}
		return len(place) + 1
	}
	slices.SortStableFunc(p.files, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return nil
}

func (p *Package) readBuiltin() error {
	text, err := os.ReadFile(filepath.Join(p.modules, "modules.builtin"))
	if err != nil {
		return err
	}
	p.builtin = string(text)
	p.inside = map[string]string{}
	for _, file := range strings.Fields(p.builtin) {
		p.inside[kmod.NameOf(file)] = stem(file)
	}
	info, err := os.ReadFile(filepath.Join(p.modules, "modules.builtin.modinfo"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p.info = kmod.BuiltinInfo(string(info))
	return nil
}

// stem returns a module's path without its endings.
func stem(file string) string {
	return strings.TrimSuffix(strings.TrimSuffix(file, ".xz"), ".ko")
}

// inTree returns the path of a file of the release in an image.
func (p *Package) inTree(file string) string {
	return path.Join("usr/lib/modules", p.Release, file)
}
