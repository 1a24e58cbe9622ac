package modules

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/skerry-os/skerry/kmod"
	"golang.org/x/sys/unix"
)

// Loader loads modules of one release. It may be used from several goroutines.
type Loader struct {
	system   System
	index    *kmod.Index
	settings settings
	log      *slog.Logger

	mu    sync.Mutex
	loads map[string]*load
}

// load is one module's way into the kernel. Failed ones are forgotten, so that
// the next who asks tries again.
type load struct {
	done chan struct{}
	err  error
}

// NewLoader reads the module index and the kernel's command line. Options are
// parameters by module, "a=1 b=2"; parameters on the command line win over them.
func NewLoader(system System, options map[string]string, log *slog.Logger) (*Loader, error) {
	index, err := kmod.Load(os.DirFS(system.Modules))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: are the image's modules those of the running kernel?", system.Modules, err)
	}
	line, err := os.ReadFile(filepath.Join(system.Proc, "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's command line: %w", err)
	}
	return &Loader{
		system:   system,
		index:    index,
		settings: commandLine(string(line), options),
		log:      log,
		loads:    map[string]*load{},
	}, nil
}

// Index returns the index of the modules that can be loaded.
func (l *Loader) Index() *kmod.Index { return l.index }

// Load loads a module and what belongs to it, by its name or an alias. A module
// that is loaded already or is built into the kernel is no error; the error wraps
// kmod.ErrNotFound when there is none. When several modules have the alias, one
// that loads is enough: a fast cipher is there beside a portable one, and refuses
// processors it is not made for. The context ends waiting for a module that
// another goroutine loads; what the kernel has begun it finishes.
func (l *Loader) Load(ctx context.Context, nameOrAlias string) error {
	names, err := l.index.Names(nameOrAlias)
	if err != nil {
		return fmt.Errorf("load module %w", err)
	}
	return l.any(ctx, names, "")
}

// any loads all of names and fails when none of them could be loaded.
func (l *Loader) any(ctx context.Context, names []string, params string) error {
	var errs []error
	for _, name := range names {
		if err := l.load(ctx, name, params); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(names) && ctx.Err() == nil {
		for _, err := range errs {
			l.log.Debug("one of several modules was not loaded", "error", err)
		}
		return nil
	}
	return errors.Join(errs...)
}

// LoadFor loads the modules for a device, by its modalias. Those that the kernel's
// command line blacklists are left out. It is no error that no module is for this
// device, for it may need none or be one of those that nodes do not use; nor that
// a module does not want it: many drivers look closer than their aliases do.
func (l *Loader) LoadFor(ctx context.Context, modalias string) error {
	names, err := l.index.Aliased(modalias)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if l.blacklisted(name) {
			continue
		}
		err := l.load(ctx, name, "")
		if errors.Is(err, unix.ENODEV) {
			l.log.Debug("a module does not want its device", "modalias", modalias, "error", err)
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *Loader) blacklisted(name string) bool { return l.settings.blacklist[kmod.Normalize(name)] }

// load loads one module by its name, with params, and what it needs.
func (l *Loader) load(ctx context.Context, name, params string) error {
	modules, err := l.index.Resolve(name)
	if err != nil {
		return fmt.Errorf("load module %w", err)
	}
	target := target(modules)
	for i, m := range modules {
		extra := ""
		if i == target {
			extra = params
		}
		err := l.once(ctx, m, extra)
		if err != nil && m.Soft && ctx.Err() == nil {
			l.log.Debug("a soft dependency was not loaded", "module", m.Name, "for", name, "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// target is the place of the module that was asked for: the last that is not
// there for the sake of another.
func target(modules []kmod.Module) int {
	for i := len(modules) - 1; i >= 0; i-- {
		if !modules[i].Soft {
			return i
		}
	}
	return -1
}

// once loads one module, or waits for the one who does.
func (l *Loader) once(ctx context.Context, m kmod.Module, params string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("load module %s: %w", m.Name, err)
	}
	l.mu.Lock()
	if other, ok := l.loads[m.Name]; ok {
		l.mu.Unlock()
		select {
		case <-other.done:
			return other.err
		case <-ctx.Done():
			return fmt.Errorf("load module %s: wait for its load that is under way: %w", m.Name, ctx.Err())
		}
	}
	mine := &load{done: make(chan struct{})}
	l.loads[m.Name] = mine
	l.mu.Unlock()

	// Apart, for a driver whose start hangs cannot be called back from the kernel.
	go func() {
		mine.err = l.insert(m, params)
		if mine.err != nil {
			l.mu.Lock()
			delete(l.loads, m.Name)
			l.mu.Unlock()
		}
		close(mine.done)
	}()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return fmt.Errorf("load module %s: it has not ended its start: %w", m.Name, ctx.Err())
	}
}

func (l *Loader) insert(m kmod.Module, params string) error {
	if l.live(m.Name) {
		return nil
	}
	started := time.Now()
	path := filepath.Join(l.system.Modules, m.Path)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module %s: %w", m.Name, err)
	}
	defer f.Close()
	params = l.params(m.Name, params)
	err = l.system.Init(int(f.Fd()), params, 0)
	// The kernel waits for another load of the same module before it says
	// EEXIST, so the module is ready.
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s from %s%s: %w%s", m.Name, path, with(params), err, advice(err))
	}
	l.log.Debug("module loaded", "module", m.Name, "params", params, "took", time.Since(started).Round(time.Millisecond))
	return nil
}

// live spares the reading of a module's file when it is loaded.
func (l *Loader) live(name string) bool {
	state, err := os.ReadFile(filepath.Join(l.system.Sys, "module", name, "initstate"))
	return err == nil && strings.TrimSpace(string(state)) == "live"
}

func (l *Loader) params(module, more string) string {
	params := l.settings.params[module]
	if params != "" && more != "" {
		params += " "
	}
	return params + more
}

func with(params string) string {
	if params == "" {
		return ""
	}
	return fmt.Sprintf(" with %q", params)
}

// advice says what the kernel means by its number; see kernel/module/main.c.
func advice(err error) string {
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return ": the hardware it drives is not there"
	case errors.Is(err, unix.ENOENT):
		return ": a symbol or parameter is unknown, the kernel's log says which"
	case errors.Is(err, unix.ENOEXEC):
		return ": the file is no module for this kernel"
	case errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.EPERM):
		return ": the kernel takes signed modules only, or no more modules"
	}
	return ""
}

// Remove takes a module out of the kernel, and then the modules that it alone
// depended on. A module that is not loaded is no error.
func (l *Loader) Remove(name string) error {
	modules, err := l.index.Resolve(name)
	if err != nil {
		return fmt.Errorf("remove module %w", err)
	}
	if len(modules) == 0 {
		return fmt.Errorf("remove module %s: it is built into the kernel", name)
	}
	last := target(modules)
	for i := last; i >= 0; i-- {
		m := modules[i]
		if m.Soft || (i != last && l.used(m.Name)) {
			continue
		}
		err := l.system.Delete(m.Name, unix.O_NONBLOCK)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			if i != last {
				continue // somebody came to use it
			}
			return fmt.Errorf("remove module %s: %w: stop what uses it", m.Name, err)
		}
		l.mu.Lock()
		delete(l.loads, m.Name)
		l.mu.Unlock()
	}
	return nil
}

func (l *Loader) used(name string) bool {
	count, err := os.ReadFile(filepath.Join(l.system.Sys, "module", name, "refcnt"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || strings.TrimSpace(string(count)) != "0"
}
