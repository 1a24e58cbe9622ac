package elfdeps

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/builder/tree"
)

// Closure returns the part of candidates that these programs need: the
// programs, their interpreters, the shared libraries that they and those name
// (DT_NEEDED), and every symbolic link on the way to one of them. Names of
// programs are paths in the tree; a shared library counts as a program.
//
// The result has the paths of a merged-usr system (MergeUsr) without the four
// links at its top. A library that is missing is an error that names it and
// what needs it. Only libraries for the program's own machine are taken.
func Closure(candidates *tree.Tree, programs []string) (*tree.Tree, error) {
	all, err := MergeUsr(candidates)
	if err != nil {
		return nil, err
	}
	c := &closure{all: all, out: tree.New(), objects: map[string]*object{}}
	for _, program := range programs {
		if err := c.program(program); err != nil {
			return nil, fmt.Errorf("libraries of /%s: %w", strings.TrimPrefix(program, "/"), err)
		}
	}
	return c.out, nil
}

type closure struct {
	all, out *tree.Tree
	objects  map[string]*object // by real path
}

// loaded is an object as the dynamic linker has it in memory.
type loaded struct {
	path string // real path
	*object
	loader *loaded // nil for the program
}

// program adds what one program needs, in the dynamic linker's order: breadth
// first, each library once, by the name it is asked for or calls itself.
func (c *closure) program(name string) error {
	real, err := c.take(name)
	if err != nil {
		return err
	}
	o, err := c.object(real)
	if err != nil {
		return err
	}
	if o.interp != "" {
		if _, err := c.take(o.interp); err != nil {
			return fmt.Errorf("its interpreter: %w: unpack the package that has it, libc6", err)
		}
	}
	have := map[string]bool{}
	queue := []*loaded{{path: real, object: o}}
	for ; len(queue) > 0; queue = queue[1:] {
		by := queue[0]
		for _, library := range by.needed {
			if have[library] {
				continue
			}
			have[library] = true
			found, lib, err := c.find(by, library)
			if err != nil {
				return err
			}
			if real, err = c.take(found); err != nil {
				return err
			}
			have[lib.soname] = true
			queue = append(queue, &loaded{path: real, object: lib, loader: by})
		}
	}
	return nil
}

// find returns where the dynamic linker finds a library (ld.so(8)).
func (c *closure) find(by *loaded, library string) (string, *object, error) {
	dirs := by.searchDirs()
	candidates := make([]string, 0, len(dirs))
	for _, dir := range dirs {
		candidates = append(candidates, path.Join(dir, library))
	}
	if strings.Contains(library, "/") {
		candidates = []string{by.expand(library)}
	}
	for _, candidate := range candidates {
		real, ok := c.all.Resolve(candidate)
		if !ok {
			continue
		}
		// Files for another machine and linker scripts are passed over, as
		// the dynamic linker does.
		if o, err := c.object(real); err == nil && o.arch == by.arch {
			return candidate, o, nil
		}
	}
	return "", nil, fmt.Errorf("/%s needs %s, which is in none of %s: unpack the package that has it",
		by.path, library, strings.Join(dirs, ", "))
}

// searchDirs lists where libraries of l are looked for. DT_RPATH reaches down
// to the libraries of a library, and counts only where there is no
// DT_RUNPATH, which does not.
func (l *loaded) searchDirs() []string {
	var dirs []string
	if len(l.runpath) == 0 {
		for by := l; by != nil; by = by.loader {
			if len(by.runpath) > 0 {
				continue
			}
			for _, dir := range by.rpath {
				dirs = append(dirs, by.expand(dir))
			}
		}
	}
	for _, dir := range l.runpath {
		dirs = append(dirs, l.expand(dir))
	}
	if triplet := triplets[l.arch]; triplet != "" {
		dirs = append(dirs, "/usr/lib/"+triplet)
	}
	return append(dirs, "/usr/lib", "/usr/lib64")
}

// expand puts in what ld.so(8) calls dynamic string tokens.
func (l *loaded) expand(s string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	lib := "lib"
	if triplet := triplets[l.arch]; triplet != "" {
		lib += "/" + triplet
	}
	origin := "/" + path.Dir(l.path)
	return strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin, "${LIB}", lib, "$LIB", lib).Replace(s)
}

func (c *closure) object(real string) (*object, error) {
	if o, ok := c.objects[real]; ok {
		return o, nil
	}
	f, ok := c.all.Get(real)
	if !ok || !f.Mode.IsRegular() {
		return nil, fmt.Errorf("/%s is no file", real)
	}
	o, err := readFile(f)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", real, err)
	}
	c.objects[real] = o
	return o, nil
}

// take adds the file at p and the links on the way to it to the result, and
// returns its real path.
func (c *closure) take(p string) (string, error) {
	rest := strings.Split(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
	at, led := "", false
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		f, ok := c.all.Get(next)
		if !ok {
			if led {
				return "", fmt.Errorf("/%s leads to /%s, which is not there", strings.TrimPrefix(p, "/"), next)
			}
			return "", fmt.Errorf("/%s is not there", strings.TrimPrefix(p, "/"))
		}
		rest = rest[1:]
		if f.Mode.Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("/%s: too many symbolic links", next)
		}
		if !slices.Contains(merged, next) {
			led = true
			if err := c.out.Add(next, f); err != nil {
				return "", err
			}
		}
		target := f.Target
		if !path.IsAbs(target) {
			target = path.Join("/", at, target)
		}
		rest = append(strings.Split(strings.TrimPrefix(path.Clean(target), "/"), "/"), rest...)
		at = ""
	}
	f, ok := c.all.Get(at)
	if !ok || !f.Mode.IsRegular() {
		return "", fmt.Errorf("/%s is no file", strings.TrimPrefix(p, "/"))
	}
	return at, c.out.Add(at, f)
}
