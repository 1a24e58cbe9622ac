// Package kmod knows the files that describe kernel modules: the .modinfo
// section of a module, and the indexes beside the modules of a release
// (modules.dep, modules.alias, modules.softdep, modules.builtin) that depmod(8)
// writes and modprobe(8) reads.
//
// It promises the same text as depmod for the same modules in the same order,
// and the same answers as modprobe for what the kernel and sysfs ask. Loading
// modules is left to package agent/modules, choosing them for an image to
// package builder/kernel. The package is linked into PID 1 and imports little.
package kmod

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// Info is what a module says about itself in its .modinfo section, in the
// order in which it says it.
type Info struct {
	Name     string   `json:"name"`               // with '_' for '-'
	Depends  []string `json:"depends,omitempty"`  // names of modules whose symbols it uses
	Aliases  []string `json:"aliases,omitempty"`  // patterns of modaliases, and other names
	Softdeps []string `json:"softdeps,omitempty"` // as written: "pre: a b post: c"
	Weakdeps []string `json:"weakdeps,omitempty"` // modules it may ask for at run time
	Firmware []string `json:"firmware,omitempty"` // below /lib/firmware
	License  string   `json:"license,omitempty"`  //
	Vermagic string   `json:"vermagic,omitempty"` // release and options of the kernel it was built for
	Intree   bool     `json:"intree,omitempty"`   // built from the kernel's own source
	Params   []string `json:"params,omitempty"`   // names of parameters it takes
}

// ReadInfo reads the .modinfo section of a module, an ELF object of either
// width and byte order. It fails on what is no ELF object, on a section larger
// than 1 MiB and on a module without name; see scripts/mod/modpost.c in the
// kernel's source for the format.
func ReadInfo(r io.ReaderAt) (Info, error) {
	section, err := elfSection(r, ".modinfo")
	if err != nil {
		return Info{}, fmt.Errorf("read .modinfo: %w", err)
	}
	var info Info
	for len(section) > 0 {
		var entry string
		entry, section, _ = strings.Cut(section, "\x00")
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue // padding
		}
		info.add(key, value)
	}
	if info.Name == "" {
		return Info{}, fmt.Errorf("read .modinfo: no name= in it: this is no kernel module")
	}
	return info, nil
}

func (i *Info) add(key, value string) {
	switch key {
	case "name":
		i.Name = Normalize(value)
	case "depends":
		for name := range strings.SplitSeq(value, ",") {
			if name != "" {
				i.Depends = append(i.Depends, Normalize(name))
			}
		}
	case "alias":
		i.Aliases = append(i.Aliases, value)
	case "softdep":
		i.Softdeps = append(i.Softdeps, value)
	case "weakdep":
		i.Weakdeps = append(i.Weakdeps, strings.Fields(value)...)
	case "firmware":
		i.Firmware = append(i.Firmware, value)
	case "license":
		i.License = value
	case "vermagic":
		i.Vermagic = value
	case "intree":
		i.Intree = value == "Y"
	case "parmtype":
		name, _, _ := strings.Cut(value, ":")
		i.Params = append(i.Params, name)
	}
}

// BuiltinInfo reads modules.builtin.modinfo: what the modules that are part of
// the kernel image say about themselves. Entries are "module.key=value", ended
// by NUL. The result is ordered as the modules appear.
func BuiltinInfo(contents string) []Info {
	var infos []Info
	at := map[string]int{}
	for entry := range strings.SplitSeq(contents, "\x00") {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			continue
		}
		name, key, ok := strings.Cut(key, ".")
		if !ok {
			continue
		}
		name = Normalize(name)
		i, ok := at[name]
		if !ok {
			i = len(infos)
			at[name] = i
			infos = append(infos, Info{Name: name})
		}
		if key != "name" {
			infos[i].add(key, value)
		}
	}
	return infos
}

// Normalize returns a module name as the kernel spells it, with '_' for '-'.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

// NameOf returns the name of the module in a file: "virtio_blk" of
// kernel/drivers/block/virtio-blk.ko.xz, and "" if the file is no module.
func NameOf(file string) string {
	base := path.Base(file)
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		base = strings.TrimSuffix(base, suffix)
	}
	name, ok := strings.CutSuffix(base, ".ko")
	if !ok {
		return ""
	}
	return Normalize(name)
}

// Softdep names modules to be loaded before and after another one, if they are
// there.
type Softdep struct {
	Pre, Post []string // names or aliases
}

// ParseSoftdep reads "pre: a b post: c". Words before the first of the two
// labels mean nothing, as in modprobe: cifs has such entries.
func ParseSoftdep(s string) Softdep {
	var d Softdep
	d.parse(s)
	return d
}

func (d *Softdep) parse(s string) {
	var list *[]string
	for word := range strings.FieldsSeq(s) {
		switch {
		case word == "pre:":
			list = &d.Pre
		case word == "post:":
			list = &d.Post
		case list != nil:
			*list = append(*list, word)
		}
	}
}
