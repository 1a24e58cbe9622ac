// Package sysctl sets kernel parameters below /proc/sys: first the table every
// node gets (Defaults), then what the node config says.
//
// A parameter the kernel does not have is reported and is not an error: many
// belong to modules that are loaded later, and the caller applies the table
// again then. Loading those modules is left to package modules.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Dir is where the kernel has its parameters.
const Dir = "/proc/sys"

// Setting is one parameter and the value it gets. A * in the key stands for any
// run of characters of one name, as in net.ipv6.conf.*.accept_ra, and the value
// goes to every parameter that fits.
type Setting struct {
	Key   string // as vm.overcommit_memory or net/ipv4/conf/eth0.20/forwarding
	Value string
}

// Path returns the path of key relative to Dir. As in sysctl(8), the first of
// '.' and '/' in key is its separator and the other stands for a dot within a
// name: net.ipv4.conf.eth0/20.forwarding and net/ipv4/conf/eth0.20/forwarding
// are the same parameter. A key that is empty, has an empty part or would leave
// Dir is an error.
func Path(key string) (string, error) {
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	// ValidPath refuses the empty path, rooted ones, "..", "." and "//".
	if !fs.ValidPath(path) || path == "." || strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("sysctl %q: not a parameter's name: write it as vm.overcommit_memory", key)
	}
	return path, nil
}

// Result says what Apply did.
type Result struct {
	Set     []string // keys whose value was written
	Missing []string // keys the kernel does not have (now)
}

// Apply writes settings in order to the parameters below root (Dir, or a
// directory in its place), so that a later setting of the same parameter wins.
// It goes on after a failure; the error joins all failures, and each names its
// key and value.
func Apply(root string, settings []Setting) (Result, error) {
	var result Result
	var errs []error
	for _, s := range expand(root, settings) {
		switch err := set(root, s); {
		case err == nil:
			result.Set = append(result.Set, s.Key)
		case errors.Is(err, fs.ErrNotExist):
			result.Missing = append(result.Missing, s.Key)
		default:
			errs = append(errs, err)
		}
	}
	return result, errors.Join(errs...)
}

// expand replaces settings with a pattern by one for each parameter that fits;
// a pattern that fits none stays, to be reported as missing.
func expand(root string, settings []Setting) []Setting {
	var all []Setting
	for _, s := range settings {
		path, err := Path(s.Key)
		if err != nil || !strings.Contains(path, "*") {
			all = append(all, s)
			continue
		}
		names, err := fs.Glob(os.DirFS(root), path)
		if err != nil || len(names) == 0 {
			all = append(all, s)
		}
		for _, name := range names {
			all = append(all, Setting{Key: name, Value: s.Value})
		}
	}
	return all
}

// MaxValue is the longest value Apply accepts, in bytes: procfs takes less than
// a page in one write, and only one write sets a parameter.
const MaxValue = 4000

func set(root string, s Setting) error {
	path, err := Path(s.Key)
	if err != nil {
		return err
	}
	if len(s.Value) > MaxValue || strings.ContainsAny(s.Value, "\n\x00") {
		return fmt.Errorf("sysctl %s: the value must be one line of at most %d bytes", s.Key, MaxValue)
	}
	// No O_CREATE and no O_TRUNC: both mean something on a plain file that
	// procfs does not do.
	file, err := os.OpenFile(filepath.Join(root, path), os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(s.Value + "\n")
		err = errors.Join(err, file.Close())
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ERANGE):
		return fmt.Errorf("set sysctl %s to %q: the kernel refuses this value: %w", s.Key, s.Value, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("set sysctl %s to %q: the kernel lets nobody change it now (read-only, or locked until reboot): %w", s.Key, s.Value, err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("set sysctl %s to %q: it is a group of parameters: name one of them", s.Key, s.Value)
	}
	return fmt.Errorf("set sysctl %s to %q: %w", s.Key, s.Value, err)
}

// Merge returns defaults with overrides from the node config after them, in
// the order of their keys: a map has none, and what wins must not depend on
// chance. A default that is overridden is left out, so that a parameter is
// written once: kernel.kptr_restrict and others can be tightened but not
// loosened again.
func Merge(defaults []Setting, overrides map[string]string) ([]Setting, error) {
	paths := make(map[string]bool, len(overrides))
	var own []Setting
	var errs []error
	for key, value := range overrides {
		path, err := Path(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		paths[path] = true
		own = append(own, Setting{Key: key, Value: value})
	}
	slices.SortFunc(own, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
	merged := make([]Setting, 0, len(defaults)+len(own))
	for _, s := range defaults {
		if path, err := Path(s.Key); err != nil || !paths[path] {
			merged = append(merged, s)
		}
	}
	return append(merged, own...), errors.Join(errs...)
}
