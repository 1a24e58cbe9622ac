package builder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/gobuild"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
)

// compileAgent is the step that compiles the node agent.
func (b *build) compileAgent() progress.Task {
	return progress.Task{Name: "agent", Run: func(ctx context.Context, shown *progress.Step) error {
		made, err := b.compile(ctx, shown, "agent", gobuild.Program{Package: "./cmd/agent"})
		b.agent = made.Path
		return err
	}}
}

// compileTasks are the steps that compile the board's Go programs, each under
// its file's name, and those of the container images. A program that has several
// places is compiled once, and is then one file with several names.
func (b *build) compileTasks() []progress.Task {
	var tasks []progress.Task
	type different struct {
		program board.GoProgram
		places  []*artifact
	}
	var programs []*different
	add := func(program board.GoProgram, place *artifact) {
		i := slices.IndexFunc(programs, func(d *different) bool { return sameProgram(d.program, program) })
		if i < 0 {
			i = len(programs)
			programs = append(programs, &different{program: program})
		}
		programs[i].places = append(programs[i].places, place)
	}
	b.compiled = make([]artifact, len(b.board.Go))
	for i, program := range b.board.Go {
		add(program, &b.compiled[i])
	}
	b.inImages = make([][]artifact, len(b.images))
	for i, image := range b.images {
		b.inImages[i] = make([]artifact, len(image.Go))
		for j, program := range image.Go {
			add(program, &b.inImages[i][j])
		}
	}
	for _, d := range programs {
		tasks = append(tasks, b.compileTask(d.program, d.places))
	}
	return tasks
}

// sameProgram tells whether two programs have the same bytes, wherever they are
// put.
func sameProgram(x, y board.GoProgram) bool {
	return x.Package == y.Package && slices.Equal(x.Tags, y.Tags) && x.CGO == y.CGO && slices.Equal(x.Libraries, y.Libraries)
}

// compileTask is the step that compiles a program for its places.
func (b *build) compileTask(program board.GoProgram, places []*artifact) progress.Task {
	name := path.Base(program.File)
	return progress.Task{Name: name, Run: func(ctx context.Context, shown *progress.Step) (err error) {
		what := gobuild.Program{Package: program.Package, Tags: program.Tags}
		if program.CGO {
			if what.C, err = b.sysroot(ctx); err != nil {
				return err
			}
		}
		made, err := b.compile(ctx, shown, name, what)
		for _, place := range places {
			*place = made
		}
		return err
	}}
}

// compile makes one program for the board.
func (b *build) compile(ctx context.Context, shown *progress.Step, name string, program gobuild.Program) (artifact, error) {
	program.Source, program.GOARCH = b.Source, b.board.Architecture
	fingerprint, err := program.Fingerprint(ctx)
	if err != nil {
		return artifact{}, err
	}
	made, err := b.file(ctx, shown, name, cache.NewKey("go program", 1).Add("sources", fingerprint), func(path string) error {
		return program.Build(ctx, path)
	})
	if err != nil {
		return artifact{}, err
	}
	shown.Detail("%s", progress.Size(size(made.Path)))
	return made, nil
}

// sysrootPackages are the packages that C is compiled with: the C library, the
// kernel's headers, and what the programs name. There are none if no program
// has any C.
func sysrootPackages(b *board.Board) []string {
	var names []string
	for _, program := range b.Go {
		if program.CGO {
			names = append(names, "libc6-dev", "linux-libc-dev")
			names = append(names, program.Libraries...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sysroot puts the packages that C is compiled with into one folder.
func (b *build) sysroot(ctx context.Context) (*gobuild.C, error) {
	key := cache.NewKey("sysroot", 1)
	names := sysrootPackages(b.board)
	for _, p := range b.packages {
		if slices.Contains(names, p.Name) {
			key.Add(p.Name, p.SHA256)
		}
	}
	dir, _, err := b.cache.Step(ctx, "sysroot", key, func(dir string) error {
		merged := tree.New()
		for _, name := range names {
			unpacked, err := b.folderOf(name)
			if err != nil {
				return err
			}
			if err := merged.AddHostDir(unpacked); err != nil {
				return fmt.Errorf("package %s: %w", name, err)
			}
		}
		return merged.WriteTo(dir)
	})
	if err != nil {
		return nil, err
	}
	return &gobuild.C{Sysroot: dir, Key: key.String()}, nil
}

// goModules returns the modules that all programs were compiled from, each once.
func (b *build) goModules() ([]gobuild.Module, error) {
	programs := []string{b.agent}
	for _, made := range slices.Concat(append(b.inImages, b.compiled)...) {
		programs = append(programs, made.Path)
	}
	all := map[gobuild.Module]bool{}
	for _, program := range programs {
		modules, err := gobuild.Modules(program)
		if err != nil {
			return nil, err
		}
		for _, m := range modules {
			all[m] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(x, y gobuild.Module) int {
		return cmp.Or(cmp.Compare(x.Path, y.Path), cmp.Compare(x.Version, y.Version))
	}), nil
}
