package builder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/skerry-os/skerry/builder/board"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/gobuild"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/builder/tree"
)

// compileAgent is the step that compiles the node agent.
func (b *build) compileAgent(ahead *fingerprints) progress.Task {
	program := b.forBoard(gobuild.Program{Package: "./cmd/agent"})
	fingerprint := ahead.of(program)
	return progress.Task{Name: "agent", Run: func(ctx context.Context, shown *progress.Step) error {
		made, err := b.compile(ctx, shown, "agent", program, fingerprint)
		b.agent = made.Path
		return err
	}}
}

// compileTasks are the steps that compile the board's Go programs, each under
// its file's name, and those of the container images. A program that has several
// places is compiled once, and is then one file with several names.
func (b *build) compileTasks(ahead *fingerprints) []progress.Task {
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
		tasks = append(tasks, b.compileTask(ahead, d.program, d.places))
	}
	return tasks
}

// sameProgram tells whether two programs have the same bytes, wherever they are
// put.
func sameProgram(x, y board.GoProgram) bool {
	return x.Package == y.Package && slices.Equal(x.Tags, y.Tags) && x.CGO == y.CGO && slices.Equal(x.Libraries, y.Libraries)
}

// compileTask is the step that compiles a program for its places.
func (b *build) compileTask(ahead *fingerprints, program board.GoProgram, places []*artifact) progress.Task {
	name := path.Base(program.File)
	what := b.forBoard(gobuild.Program{Package: program.Package, Tags: program.Tags})
	var fingerprint func() (string, error)
	if !program.CGO {
		fingerprint = ahead.of(what)
	}
	return progress.Task{Name: name, Run: func(ctx context.Context, shown *progress.Step) (err error) {
		if program.CGO { // the headers are unpacked only now
			if what.C, err = b.sysroot(ctx); err != nil {
				return err
			}
		}
		made, err := b.compile(ctx, shown, name, what, fingerprint)
		for _, place := range places {
			*place = made
		}
		return err
	}}
}

// forBoard completes a program of the repository with what it is compiled for.
func (b *build) forBoard(program gobuild.Program) gobuild.Program {
	program.Source, program.GOARCH = b.Source, b.board.Architecture
	return program
}

// fingerprints of programs are worked out while other steps wait for a mirror or
// a disk: listing the packages of all programs takes most of a build where nothing
// changed.
type fingerprints struct {
	ctx   context.Context
	slots chan struct{} // as many as run at a time
	done  sync.WaitGroup
}

// fingerprintAhead begins. Its work has ended when stop returns.
func fingerprintAhead(ctx context.Context) (ahead *fingerprints, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ahead = &fingerprints{ctx: ctx, slots: make(chan struct{}, runtime.NumCPU())}
	return ahead, func() {
		cancel()
		ahead.done.Wait()
	}
}

// of returns what waits for a program's fingerprint.
func (f *fingerprints) of(program gobuild.Program) func() (string, error) {
	fingerprint := sync.OnceValues(func() (string, error) {
		f.slots <- struct{}{}
		defer func() { <-f.slots }()
		return program.Fingerprint(f.ctx)
	})
	f.done.Go(func() { _, _ = fingerprint() })
	return fingerprint
}

// compile makes one program. Without a function that waits for its fingerprint,
// that is worked out now.
func (b *build) compile(ctx context.Context, shown *progress.Step, name string, program gobuild.Program, fingerprint func() (string, error)) (artifact, error) {
	if fingerprint == nil {
		fingerprint = func() (string, error) { return program.Fingerprint(ctx) }
	}
	sources, err := fingerprint()
	if err != nil {
		return artifact{}, err
	}
	made, err := b.file(ctx, shown, name, cache.NewKey("go program", 1).Add("sources", sources), func(path string) error {
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
