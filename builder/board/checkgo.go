package board

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/strictyaml"
)

func (c checks) goPrograms(programs []GoProgram) {
	for i, program := range programs {
		p := strictyaml.Path("go").Index(i)
		c.goPackage(p.Key("package"), program.Package)
		c.file(p.Key("file"), program.File)
		for j, tag := range program.Tags {
			if !isTag(tag) {
				c.Errorf(p.Key("tags").Index(j), "found %.40q: a build tag belongs here, as in seccomp", tag)
			}
		}
		for j, name := range program.Libraries {
			c.packageName(p.Key("libraries").Index(j), name)
		}
		if len(program.Libraries) > 0 && !program.CGO {
			c.Errorf(p.Key("libraries"), "without cgo: true nothing is linked with them")
		}
		if k := slices.IndexFunc(programs, func(other GoProgram) bool { return other.File == program.File }); k < i && program.File != "" {
			c.Errorf(p.Key("file"), "found %.80q twice: keep one", program.File)
		}
	}
}

// goPackage checks the import path of a command: of the repository, where its
// folder must be, or of another module.
func (c checks) goPackage(p strictyaml.Path, name string) {
	if !c.Has(p) {
		return
	}
	dir, own := strings.CutPrefix(name, "./")
	first, _, _ := strings.Cut(name, "/")
	switch {
	case !isImportPath(dir) || !own && !strings.Contains(first, "."):
		c.Errorf(p, "found %.120q: a folder of the repository or a package of a module belongs here, as in ./cmd/skerry or github.com/opencontainers/runc", name)
	case own && !isDir(c.fsys, dir):
		c.Errorf(p, "found %.120q: there is no folder %.120s", name, dir)
	}
}

func isDir(fsys fs.FS, dir string) bool {
	info, err := fs.Stat(fsys, dir)
	return err == nil && info.IsDir()
}

// isImportPath reports whether a package can have the path: the go command
// would take others for flags, patterns or versions.
func isImportPath(s string) bool {
	return fs.ValidPath(s) && s != "." && len(s) <= 256 && !strings.HasPrefix(s, "-") && !strings.Contains(s, "...") &&
		!strings.ContainsFunc(s, func(r rune) bool { return !consistsOf("x"+strings.ToLower(string(r)), "._~/-") })
}

// isTag reports whether s is a build tag (go/build/constraint).
func isTag(s string) bool {
	return s != "" && len(s) <= 64 && consistsOf("x"+strings.ToLower(s), "_.")
}
