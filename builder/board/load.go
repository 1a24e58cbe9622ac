package board

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/skerry-os/skerry/strictyaml"
)

const (
	boardsDir   = "boards"
	modulesDir  = "boards/modules"
	overlaysDir = "overlays"
	boardFile   = "board.yaml"
	overlayFile = "overlay.yaml"
)

// Load reads a board of the repository whose root folder is fsys. If there is
// no such board, the error names those that there are.
func Load(fsys fs.FS, name string) (*Board, error) {
	file := path.Join(boardsDir, name, boardFile)
	if !isName(name) || !exists(fsys, file) {
		return nil, unknown(fsys, "board", name, boardsDir, boardFile)
	}
	b := new(Board)
	doc, err := decode(fsys, file, b)
	if doc == nil {
		return nil, err
	}
	c := checks{doc, fsys}
	if doc.Has("name") && b.Name != name {
		c.Errorf("name", "found %q in the folder of board %s: both are the same", b.Name, name)
	}
	c.board(b)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return b, nil
}

// List reads all boards, in the order of their names.
func List(fsys fs.FS) ([]*Board, error) {
	names, err := names(fsys, boardsDir, boardFile)
	if err != nil {
		return nil, err
	}
	var boards []*Board
	var errs []error
	for _, name := range names {
		b, err := Load(fsys, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		boards = append(boards, b)
	}
	return boards, errors.Join(errs...)
}

// LoadOverlay reads an overlay. If there is no such overlay, the error names
// those that there are.
func LoadOverlay(fsys fs.FS, name string) (*Overlay, error) {
	file := path.Join(overlaysDir, name, overlayFile)
	if !isName(name) || !exists(fsys, file) {
		return nil, unknown(fsys, "overlay", name, overlaysDir, overlayFile)
	}
	o := &Overlay{Name: name}
	doc, err := decode(fsys, file, o)
	if doc == nil {
		return nil, err
	}
	checks{doc, fsys}.overlay(o)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return o, nil
}

// Root returns the overlay's files for the root tree, and false if it has none.
func (o *Overlay) Root(fsys fs.FS) (fs.FS, bool) {
	dir := path.Join(overlaysDir, o.Name, "root")
	if info, err := fs.Stat(fsys, dir); err != nil || !info.IsDir() {
		return nil, false
	}
	root, err := fs.Sub(fsys, dir)
	return root, err == nil
}

// LoadModuleList reads a module list of the folder boards/modules.
func LoadModuleList(fsys fs.FS, name string) (*ModuleList, error) {
	file := path.Join(modulesDir, name+".yaml")
	if !isName(name) || !exists(fsys, file) {
		return nil, fmt.Errorf("module list %q is not known: there is no %s", name, file)
	}
	l := new(ModuleList)
	doc, err := decode(fsys, file, l)
	if doc == nil {
		return nil, err
	}
	checks{doc, fsys}.moduleList(l)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return l, nil
}

// decode reads a file into a struct. Without a document there is an error.
func decode(fsys fs.FS, name string, into any) (*strictyaml.Document, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := strictyaml.Read(name, f)
	if err != nil {
		return nil, err
	}
	doc, err := strictyaml.Decode(name, data, into)
	if doc != nil && doc.Empty() {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return doc, err
}

func exists(fsys fs.FS, file string) bool {
	info, err := fs.Stat(fsys, file)
	return err == nil && info.Mode().IsRegular()
}

// names returns the folders below dir that have the file, sorted.
func names(fsys fs.FS, dir, file string) ([]string, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("%w: is this the root folder of the repository?", err)
	}
	var names []string
	for _, e := range entries {
		if exists(fsys, path.Join(dir, e.Name(), file)) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func unknown(fsys fs.FS, what, name, dir, file string) error {
	known, err := names(fsys, dir, file)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s %q is not known: there are %s", what, name, strings.Join(known, ", "))
}
