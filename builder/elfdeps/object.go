package elfdeps

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/skerry-os/skerry/builder/tree"
)

// object is what the dynamic linker wants to know about an ELF file.
type object struct {
	arch    string
	interp  string
	soname  string
	needed  []string
	rpath   []string // not used when there is a runpath
	runpath []string
}

// maxInterp bounds PT_INTERP: it is a path.
const maxInterp = 4096

// readFile reads an ELF file of a tree. A script gives an error that says so:
// there is no interpreter for it in an image.
func readFile(f tree.File) (*object, error) {
	if f.Source == "" {
		return readObject(bytes.NewReader(f.Bytes))
	}
	file, err := os.Open(f.Source)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readObject(file)
}

func readObject(r io.ReaderAt) (*object, error) {
	arch, isELF, err := Architecture(r)
	if err != nil {
		return nil, err
	}
	if !isELF {
		return nil, notELF(r)
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o := &object{arch: arch}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Filesz > maxInterp {
			return nil, fmt.Errorf("its interpreter's name has %d bytes", p.Filesz)
		}
		name, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, fmt.Errorf("its interpreter's name: %w", err)
		}
		o.interp = strings.TrimRight(string(name), "\x00")
	}
	strings := func(tag elf.DynTag) []string {
		list, e := f.DynString(tag)
		if err == nil {
			err = e
		}
		return list
	}
	o.needed = strings(elf.DT_NEEDED)
	o.rpath = searchPath(strings(elf.DT_RPATH))
	o.runpath = searchPath(strings(elf.DT_RUNPATH))
	if names := strings(elf.DT_SONAME); len(names) > 0 {
		o.soname = names[0]
	}
	if err != nil {
		return nil, fmt.Errorf("its dynamic section: %w", err)
	}
	return o, nil
}

func searchPath(values []string) []string {
	var dirs []string
	for _, value := range values {
		for dir := range strings.SplitSeq(value, ":") {
			if dir != "" {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

func notELF(r io.ReaderAt) error {
	head := make([]byte, 128)
	n, _ := r.ReadAt(head, 0)
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	if interpreter, ok := bytes.CutPrefix(line, []byte("#!")); ok {
		return fmt.Errorf("it is a script for %.100s, and only programs can be taken", bytes.TrimSpace(interpreter))
	}
	return fmt.Errorf("it is no ELF file")
}
