package inspect

import (
	"path"
	"strings"

	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/kmod"
)

const moduleFolder = "usr/lib/modules"

// checkModules checks that the modules are those of one kernel, that of the
// kernel image, and that the index that they are found by speaks of them and
// of no others. It returns how many there are.
func (i *inspection) checkModules(where string, files *tree.Tree, release string) int {
	var releases []string
	modules := map[string]bool{} // by path below the folder of the release
	for _, p := range files.Paths() {
		rel, ok := strings.CutPrefix(p, moduleFolder+"/")
		if !ok {
			continue
		}
		of, name, inside := strings.Cut(rel, "/")
		if !inside {
			if of != release {
				i.find(in(where, p), "It belongs to kernel %s, and the kernel image has %s.", of, release)
			}
			releases = append(releases, of)
			continue
		}
		if path.Ext(p) == ".ko" {
			i.checkModule(in(where, p), files, p, of)
			modules[of+"/"+name] = true
		}
	}
	switch len(releases) {
	case 0:
		i.find(in(where, moduleFolder), "There are no modules.")
	case 1:
		i.checkIndex(where, files, releases[0], modules)
	default:
		i.find(in(where, moduleFolder), "There are modules of %d kernels: %s.", len(releases), strings.Join(releases, ", "))
	}
	return len(modules)
}

// checkModule compares what a module says about itself with its folder.
func (i *inspection) checkModule(where string, files *tree.Tree, p, release string) {
	f, _ := files.Get(p)
	if !f.Mode.IsRegular() {
		return
	}
	contents, closer, err := open(f)
	if err != nil {
		i.find(where, "It cannot be read: %v.", err)
		return
	}
	defer closer.Close()
	info, err := kmod.ReadInfo(contents)
	if err != nil {
		i.find(where, "It is no kernel module: %v.", err)
		return
	}
	// vermagic goes on with options: "6.12.1-amd64 SMP preempt mod_unload ".
	if built, _, _ := strings.Cut(info.Vermagic, " "); built != release {
		i.find(where, "It was built for kernel %q: kernel %s refuses it.", built, release)
	}
}

// checkIndex compares modules.dep with the files. Modules that are missing in
// it are never loaded.
func (i *inspection) checkIndex(where string, files *tree.Tree, release string, modules map[string]bool) {
	dir := path.Join(moduleFolder, release)
	texts := map[string]string{}
	for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin"} {
		contents, err := read(files, path.Join(dir, name))
		if err != nil {
			i.find(in(where, path.Join(dir, name)), "It cannot be read: %v.", err)
		}
		texts[name] = string(contents)
	}
	where = in(where, path.Join(dir, "modules.dep"))
	index, err := kmod.NewIndex(kmod.Texts{
		Dep: texts["modules.dep"], Alias: texts["modules.alias"],
		Softdep: texts["modules.softdep"], Builtin: texts["modules.builtin"],
	})
	if err != nil {
		i.find(where, "The index of modules cannot be used: %v.", err)
		return
	}
	listed := map[string]bool{}
	for _, m := range index.All() {
		listed[release+"/"+m.Path] = true
		if !modules[release+"/"+m.Path] {
			i.find(where, "It names %s, which is not there.", m.Path)
		}
		if _, err := index.Resolve(m.Name); err != nil {
			i.find(where, "Module %s cannot be loaded: %v.", m.Name, err)
		}
	}
	missing, first := 0, ""
	for _, p := range files.Paths() {
		if rel := strings.TrimPrefix(p, moduleFolder+"/"); modules[rel] && !listed[rel] {
			if missing++; missing == 1 {
				first = rel
			}
		}
	}
	if missing > 0 {
		i.find(where, "%d modules are not in it; the first is %s.", missing, first)
	}
}
