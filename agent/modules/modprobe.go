package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerry-os/skerry/kmod"
)

// Modprobe is modprobe(8) as the kernel calls it ("modprobe -q -- ALIAS", see
// kernel/module/kmod.c) and as programs in pods' network and storage drivers
// do. It returns the exit status: 0, 1 when something failed, 2 when it was called
// wrongly. Everything it does not know it refuses.
func Modprobe(system System, args []string, stdout, stderr io.Writer) int {
	call, err := parseModprobe(args)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\nusage: modprobe [-q] [-v] [-n] [-b] MODULE [PARAM=VALUE …] | modprobe [-q] [-v] [-n] [-b] -a MODULE … | modprobe [-q] -r MODULE …\n", err)
		return 2
	}
	loader, err := NewLoader(system, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	status := 0
	for _, name := range call.names {
		err := call.run(loader, name, stdout)
		if err == nil {
			continue
		}
		status = 1
		if !call.quiet || !errors.Is(err, kmod.ErrNotFound) {
			fmt.Fprintf(stderr, "modprobe: %v\n", err)
		}
	}
	return status
}

type modprobeCall struct {
	quiet, verbose, dry, blacklist, all, remove bool

	names  []string
	params string
}

func parseModprobe(args []string) (modprobeCall, error) {
	var call modprobeCall
	flags := map[string]*bool{
		"q": &call.quiet, "quiet": &call.quiet,
		"v": &call.verbose, "verbose": &call.verbose,
		"n": &call.dry, "dry-run": &call.dry,
		"b": &call.blacklist, "use-blacklist": &call.blacklist,
		"a": &call.all, "all": &call.all,
		"r": &call.remove, "remove": &call.remove,
	}
	var words []string
	for i, arg := range args {
		if arg == "--" {
			words = append(words, args[i+1:]...)
			break
		}
		long, isLong := strings.CutPrefix(arg, "--")
		switch {
		case isLong:
			flag, ok := flags[long]
			if !ok || len(long) == 1 {
				return call, fmt.Errorf("unknown option %s", arg)
			}
			*flag = true
		case len(arg) > 1 && arg[0] == '-':
			for _, letter := range arg[1:] {
				flag, ok := flags[string(letter)]
				if !ok {
					return call, fmt.Errorf("unknown option -%c", letter)
				}
				*flag = true
			}
		default:
			words = append(words, arg)
		}
	}
	if len(words) == 0 {
		return call, errors.New("no module named")
	}
	call.names = words
	if !call.all && !call.remove {
		call.names, call.params = words[:1], strings.Join(words[1:], " ")
	}
	for _, name := range call.names {
		if name == "" {
			return call, errors.New("an empty name is no module")
		}
	}
	return call, nil
}

func (c modprobeCall) run(loader *Loader, name string, stdout io.Writer) error {
	if c.remove {
		if c.verbose {
			fmt.Fprintf(stdout, "rmmod %s\n", kmod.Normalize(name))
		}
		if c.dry {
			return nil
		}
		return loader.Remove(name)
	}
	names, err := loader.index.Names(name)
	if err != nil {
		return fmt.Errorf("load module %w", err)
	}
	if c.blacklist {
		names = slices.DeleteFunc(names, loader.blacklisted)
	}
	if c.verbose {
		for _, name := range names {
			if err := c.print(loader, name, stdout); err != nil {
				return err
			}
		}
	}
	if c.dry {
		return nil
	}
	return loader.any(context.Background(), names, c.params)
}

// print says what loading a module means.
func (c modprobeCall) print(loader *Loader, name string, stdout io.Writer) error {
	modules, err := loader.index.Resolve(name)
	if err != nil {
		return fmt.Errorf("load module %w", err)
	}
	last := target(modules)
	for i, m := range modules {
		if loader.live(m.Name) {
			continue
		}
		extra := ""
		if i == last {
			extra = c.params
		}
		line := "insmod " + filepath.Join(loader.system.Modules, m.Path) + " " + loader.params(m.Name, extra)
		fmt.Fprintln(stdout, strings.TrimSpace(line))
	}
	return nil
}
