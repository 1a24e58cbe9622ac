package mount

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// helper returns the path of the program that mounts a type, or "".
func (m *mountCommand) helper(fstype string) string {
	if m.noHelpers || fstype == "" || strings.ContainsAny(fstype, "/,") {
		return ""
	}
	for _, name := range []string{fstype, strings.SplitN(fstype, ".", 2)[0]} {
		path := filepath.Join("/sbin", "mount."+name)
		if _, err := m.host.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// runHelper runs a mount.TYPE program with the arguments mount(8) documents.
func (m *mountCommand) runHelper(path, source, fstype string) (int, error) {
	args := []string{source, m.target}
	if m.verbose {
		args = append(args, "-v")
	}
	access := "rw"
	if m.options.set&unix.MS_RDONLY != 0 {
		access = "ro"
	}
	list := []string{access}
	for _, option := range splitOptions(m.options.helper) {
		if option != "ro" && option != "rw" {
			list = append(list, option)
		}
	}
	args = append(args, "-o", strings.Join(list, ","))
	if _, subtype, found := strings.Cut(fstype, "."); found && !strings.HasSuffix(path, subtype) {
		args = append(args, "-t", fstype)
	}
	exit, err := m.host.Run(path, args, m.stdout, m.stderr)
	if err != nil {
		return 0, &mountError{exitSystem, fmt.Errorf("run %s: %w", path, err)}
	}
	return exit, nil
}
